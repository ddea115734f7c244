package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/policies"
)

// Policy is the rules of access: an action is allowed if a rule allows it and no rule denies
// it.
type Policy struct {
	// Allow are the rules that allow actions.
	Allow []Rule `json:"allow,omitempty"`
	// Deny are the rules that refuse actions, whatever other rules allow.
	Deny []Rule `json:"deny,omitempty"`
}

// Rule allows or denies actions to callers.
type Rule struct {
	// Who is "anonymous", "signed_in", "user <name>", "group <name>", or
	// "key <id or label>". A label counts only for the keys of service accounts, and 12
	// hexadecimal digits are always an ID. In Allow, anonymous means every caller; in Deny,
	// only callers without an identity.
	Who string `json:"who"`
	// Actions are read, fetch, create, update, delete, admin; or "*" alone, which is
	// all of them.
	Actions []string `json:"actions"`
	// On are patterns of the repositories to which the rule applies, such as team/**.
	// Default: everywhere.
	On []string `json:"on,omitempty"`
	// Line is the position of the rule, for errors and for `policy explain`. The
	// Caddyfile sets it. Default: unknown.
	Line string `json:"line,omitempty"`
}

// defaultRules apply if there is no policy. No caller may write.
var defaultRules = []policies.Rule{{
	Actions: []policies.Action{policies.Read, policies.Fetch},
	Line:    "default, as there is no policy",
}}

// errNoRule reports an empty policy, which is likely a mistake.
var errNoRule = errors.New("has no rule; write: allow|deny <who> <actions> [on <globs>]")

// Rules returns the rules of the block; those of nil are the default. Its errors name the rule,
// and its line if it is known.
func (p *Policy) Rules(names policies.Names) ([]policies.Rule, error) {
	if p == nil {
		return defaultRules, nil
	}
	var rules []policies.Rule
	for _, list := range []struct {
		rules []Rule
		deny  bool
	}{{p.Allow, false}, {p.Deny, true}} {
		for _, r := range list.rules {
			rule, err := r.parse(list.deny)
			if err != nil {
				return nil, r.located(fmt.Errorf("%s: %w", r.text(list.deny), err))
			}
			if err := names.Check(rule); err != nil {
				return nil, r.located(fmt.Errorf("%s: %w", rule, err))
			}
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return nil, errNoRule
	}
	return rules, nil
}

// parse reads a rule.
func (r Rule) parse(deny bool) (policies.Rule, error) {
	if _, err := parseSubject(r.Who); err != nil {
		return policies.Rule{}, err
	}
	words := append(subjectWords(r.Who), r.Actions...)
	if len(r.On) > 0 {
		words = append(append(words, "on"), r.On...)
	}
	rule, err := policies.ParseRule(deny, words)
	rule.Line = r.Line
	return rule, err
}

// parseSubject reads the one string that a subject is in JSON.
func parseSubject(s string) (policies.Subject, error) {
	words := subjectWords(s)
	who, rest, err := policies.ParseSubject(words)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unexpected %q after %s", rest[0], words[0])
	}
	return who, err
}

// subjectWords splits a subject into a kind and a name, which may have spaces: the provider's
// groups often do.
func subjectWords(s string) []string { return strings.SplitN(s, " ", 2) }

// text returns the rule as it was written.
func (r Rule) text(deny bool) string {
	words := append([]string{"allow", r.Who}, r.Actions...)
	if deny {
		words[0] = "deny"
	}
	if len(r.On) > 0 {
		words = append(append(words, "on"), r.On...)
	}
	return strings.Join(words, " ")
}

// located puts the line of the rule, if it has one, before the error.
func (r Rule) located(err error) error {
	if r.Line == "" {
		return err
	}
	return fmt.Errorf("%s: %w", r.Line, err)
}

// Rules returns the rules of the policy, and those of the mirrors for hidden content of their
// upstreams. site is what Site returns.
func (r *Registry) Rules(site namespace.Site) ([]policies.Rule, error) {
	rules, err := r.Policy.Rules(Names(site))
	if err != nil {
		return nil, err
	}
	for name, m := range r.Mirrors {
		shown, _ := m.reveals(name) // Site has reported the error
		rules = append(slices.Clip(rules), shown...)
	}
	return rules, nil
}

// Concealing returns the mirrors that may hold what their upstreams hide from anonymous callers.
func (r *Registry) Concealing() (names []string) {
	for name, m := range r.Mirrors {
		if m.Credentialed() {
			names = append(names, name)
		}
	}
	return names
}

// Names returns the names of a site that rules may mention.
func Names(site namespace.Site) policies.Names {
	return policies.Names{Private: site.Private, Mirrors: site.Mirrors}
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	policy {
//	    allow|deny <who> <actions...>|* [on <globs...>]
//	}
//
// where <who> is anonymous, signed_in, user <name>, group <name> or
// key <id or label>, and the actions are read, fetch, create, update, delete, admin.
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	rule := func(deny bool, to *[]Rule) option.Option {
		return option.Func(func(d *caddyfile.Dispenser) error {
			line := fmt.Sprintf("%s:%d", d.File(), d.Line())
			rule, err := unmarshalRule(deny, d.RemainingArgs())
			if err != nil {
				return d.WrapErr(err)
			}
			rule.Line = line
			*to = append(*to, rule)
			return nil
		}).Repeated()
	}
	err := option.Block(d, "policy", option.Options{"allow": rule(false, &p.Allow), "deny": rule(true, &p.Deny)})
	if err == nil && len(p.Allow)+len(p.Deny) == 0 {
		err = d.Errf("policy %v", errNoRule)
	}
	return err
}

// unmarshalRule reads the rest of an allow or deny.
func unmarshalRule(deny bool, words []string) (Rule, error) {
	parsed, err := policies.ParseRule(deny, words)
	if err != nil {
		return Rule{}, err
	}
	rule := Rule{Who: parsed.Who.String(), Actions: []string{"*"}, On: parsed.On}
	if _, rest, _ := policies.ParseSubject(words); rest[0] != "*" {
		rule.Actions = rest[:len(rest)-len(parsed.On)]
		if len(parsed.On) > 0 {
			rule.Actions = rule.Actions[:len(rule.Actions)-1] // the word on
		}
	}
	return rule, nil
}

var _ caddyfile.Unmarshaler = (*Policy)(nil)
