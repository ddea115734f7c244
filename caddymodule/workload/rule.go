package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/eblume/caddy-registry/policies"
)

const (
	// UserPrefix begins the name of every workload. The name of a person has no colon,
	// so that no token is ever taken for a person's, whatever its claims are.
	UserPrefix = "workload:"
	// defaultUser is the name of a workload if no rule gives it one.
	defaultUser = "{claims.sub}"
	// maxName bounds the name of a user or group, in bytes.
	maxName = 256
)

// Rule says which tokens of an issuer are accepted, and for which user.
type Rule struct {
	// Audience are the accepted audiences, at least one. A token must be for one of them.
	Audience []string
	// Claims have to match, all of them.
	Claims []Claim
	// Condition is an expression in CEL over claims that must be true. Empty: none.
	Condition string
	// User is the name after UserPrefix. The prefix may be written, too. Default: the sub.
	User string
	// Groups are the groups. User and Groups may have {claims.NAME} in them.
	Groups []string
}

// Compiled is a Rule that was checked. It is safe for concurrent use.
type Compiled struct {
	rule      Rule
	condition *condition // nil: none
	user      template
	groups    []template
}

// Groups are those of the rule, some of which may have claims in them.
func (c *Compiled) Groups() []string { return c.rule.Groups }

// Compile checks a rule for the tokens of an issuer. Its errors are sentences for an
// operator.
func (r Rule) Compile(issuer string) (*Compiled, error) {
	if len(r.Audience) == 0 || slices.Contains(r.Audience, "") {
		return nil, errors.New("audience is missing: without it a token that was made for another service would be good here; write this registry's host, and have jobs ask for it")
	}
	c, apart := &Compiled{rule: r}, false
	for _, claim := range r.Claims {
		if err := claim.check(); err != nil {
			return nil, err
		}
		apart = apart || claim.distinguishes()
	}
	var err error
	if r.Condition != "" {
		if c.condition, err = compile(r.Condition); err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
		apart = true
	}
	if !apart && isShared(issuer) {
		return nil, errors.New("everybody can get a token from this issuer, so that everybody would be trusted; say whose jobs are meant, as in claim repository_owner blumeops, or claim project_path blumeops/*, or by a condition")
	}
	user := strings.TrimPrefix(r.User, UserPrefix)
	if r.User == "" {
		user = defaultUser
	}
	if c.user, err = parseTemplate(user); err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	if len(c.user) == 0 {
		return nil, errors.New("user: the name is empty")
	}
	for _, group := range r.Groups {
		name, err := parseTemplate(group)
		if err != nil {
			return nil, fmt.Errorf("groups: %w", err)
		}
		if !name.named() {
			return nil, fmt.Errorf("groups: with %q the token would choose its group, and could choose any, such as admins; write text of your own beside the claim, as in ci-%[1]s", group)
		}
		c.groups = append(c.groups, name)
	}
	return c, nil
}

// Holds refuses a token that the rule is not about. Errors: ErrToken.
func (c *Compiled) Holds(claims Claims) error {
	if audiences := claims.audiences(); !slices.ContainsFunc(c.rule.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
		return fmt.Errorf("%w: it is for the audience %.100q, and must be for %q", ErrToken, audiences, c.rule.Audience[0])
	}
	for _, claim := range c.rule.Claims {
		if !claim.matches(claims[claim.Name]) {
			return fmt.Errorf("%w: its claim %s does not match", ErrToken, claim.Name)
		}
	}
	if c.condition != nil {
		return c.condition.holds(claims)
	}
	return nil
}

// Who returns the identity that the rule gives a token. Errors: ErrToken.
func (c *Compiled) Who(claims Claims) (policies.Identity, error) {
	user, err := c.user.fill(claims)
	if err != nil {
		return policies.Identity{}, fmt.Errorf("user: %w", err)
	}
	who := policies.Identity{User: UserPrefix + user, Credential: fmt.Sprintf("workload %s %s", claims["iss"], claims["sub"])}
	for _, group := range c.groups {
		name, err := group.fill(claims)
		if err != nil {
			return policies.Identity{}, fmt.Errorf("groups: %w", err)
		}
		who.Groups = append(who.Groups, name)
	}
	for _, name := range append([]string{who.User}, who.Groups...) {
		if len(name) > maxName || !utf8.ValidString(name) {
			return policies.Identity{}, fmt.Errorf("%w: the name from its claims has more than %d bytes", ErrToken, maxName)
		}
	}
	slices.Sort(who.Groups)
	who.Groups = slices.Compact(who.Groups)
	return who, nil
}
