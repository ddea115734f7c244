package demo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/policies"
)

const (
	// User is the service account that pushes, and Label what its key is called.
	User, Label = "demo", "demo"
	// repository is where the image goes if it may.
	repository = "demo/hello"
)

// Rights are the repository, and the groups with which the account may create it.
type Rights struct {
	Repository string
	// Groups are those of the key. None: it needs none.
	Groups []string
	// Public reports whether anonymous callers may pull it.
	Public bool
}

// Actions are those that the key is narrowed to.
func Actions() []string { return []string{policies.Create.String(), policies.Read.String()} }

// Choose finds a repository in which some rule lets the account create and read. private
// are the patterns of the registry's own names, and takes reports why a name cannot be
// pushed to, if it cannot.
func Choose(rules []policies.Rule, private []string, takes func(name string) error) (Rights, error) {
	policy := policies.NewRules(rules...)
	names, groups := []string{repository}, [][]string{nil}
	for _, pattern := range private {
		names = appendNew(names, under(pattern))
	}
	for _, rule := range rules {
		if rule.Deny || !slices.Contains(rule.Actions, policies.Create) {
			continue
		}
		for _, pattern := range rule.On {
			names = appendNew(names, under(pattern))
		}
		if group, ok := rule.Who.NamesGroup(); ok {
			groups = append(groups, []string{group})
		}
	}
	first, refused := "", error(nil)
	for _, name := range names {
		if err := takes(name); err != nil {
			refused = err
			continue
		}
		if first == "" {
			first = name
		}
		for _, in := range groups {
			who := policies.Identity{User: User, Groups: in, Key: policies.NamedKey(Label)}
			if policy.Allows(who, policies.Create, name) && policy.Allows(who, policies.Read, name) {
				return Rights{name, in, policy.Allows(policies.Identity{}, policies.Read, name)}, nil
			}
		}
	}
	if first == "" {
		return Rights{}, fmt.Errorf("no repository for the image: %w; private has no pattern with * under which it fits", refused)
	}
	return Rights{}, missing(policy, first, groups)
}

// missing says which rule would let the account push.
func missing(policy *policies.Rules, name string, groups [][]string) error {
	for _, in := range groups {
		who := policies.Identity{User: User, Groups: in, Key: policies.NamedKey(Label)}
		for _, action := range []policies.Action{policies.Create, policies.Read} {
			if may, rule := policy.Explain(who, action, name); !may && rule != nil {
				return fmt.Errorf("the policy denies %s in %s to the service account %s, by %s", action, name, User, where(rule))
			}
		}
	}
	return fmt.Errorf("no rule of the policy lets a service account create and read %s; add one to the block policy, such as: allow group admins *", name)
}

// where is a rule with its line, if that is known.
func where(rule *policies.Rule) string { return strings.TrimPrefix(rule.Line+": "+rule.String(), ": ") }

func appendNew(names []string, name string) []string {
	if name == "" || slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// component is what a name may have between slashes.
var component = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)

// under is a name that a pattern matches, or empty: of a pattern without * that would be
// somebody's own repository.
func under(pattern string) string {
	if !strings.Contains(pattern, "*") {
		return ""
	}
	name := strings.ReplaceAll(strings.ReplaceAll(pattern, "**", repository), "*", "demo")
	for part := range strings.SplitSeq(name, "/") {
		if !component.MatchString(part) {
			return ""
		}
	}
	return name
}
