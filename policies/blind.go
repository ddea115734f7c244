package policies

import (
	"slices"

	"github.com/eblume/caddy-registry/core/globs"
)

// Blind returns the rules that let somebody create where no rule lets them read. They
// cannot pull what they push, clients that look before they push fail, and it is hardly
// ever intended. A group or a key may have the right by another of its names, so this
// is a guess.
func Blind(rules []Rule) []Rule {
	var blind []Rule
	for _, rule := range rules {
		if rule.Deny || !slices.Contains(rule.Actions, Create) {
			continue
		}
		if !slices.ContainsFunc(rules, func(other Rule) bool {
			return !other.Deny && slices.Contains(other.Actions, Read) && other.Who.holdsFor(rule.Who) && meet(other.On, rule.On)
		}) {
			blind = append(blind, rule)
		}
	}
	return blind
}

// holdsFor reports whether a permission for s includes the callers of other.
func (s Subject) holdsFor(other Subject) bool {
	return s.kind == anyone || s.kind == signedIn && other.kind != anyone || s == other
}

// meet reports whether both hold on some repository.
func meet(a, b globs.Globs) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(one string) bool {
		return slices.ContainsFunc(b, func(other string) bool { return globs.Overlap(one, other) })
	})
}
