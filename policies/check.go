package policies

import (
	"fmt"
	"slices"

	"github.com/eblume/caddy-registry/core/globs"
)

// Names are the repository names that a registry can have.
type Names struct {
	// Private are the patterns of its private repositories. None: all names that no
	// mirror claims.
	Private globs.Globs
	// Mirrors are the hosts that it mirrors.
	Mirrors []string
}

// Check refuses a rule that can never match: on impossible repositories, or for
// writes only to mirrors, which accept none. Its errors are sentences for an
// operator. It does not check the rule's subject: a group may appear tomorrow.
func (n Names) Check(rule Rule) error {
	for _, glob := range rule.On {
		private, mirror := n.touches(glob)
		if !private && !mirror {
			return fmt.Errorf("%q can match no repository of this registry, which has %s", glob, n)
		}
	}
	if !covers(rule.On, "") && slices.Contains(rule.Actions, Admin) && !slices.Equal(rule.Actions, Actions) {
		return fmt.Errorf("admin concerns the whole registry and is never asked on %s; write it in a separate rule, without `on`", rule.On)
	}
	if rule.Deny || len(rule.On) == 0 || slices.Equal(rule.Actions, Actions) {
		return nil
	}
	for _, a := range rule.Actions {
		if a != Create && a != Update {
			continue
		}
		if !slices.ContainsFunc(rule.On, func(glob string) bool { private, _ := n.touches(glob); return private }) {
			return fmt.Errorf("%s can never happen on %s: nothing can be pushed to a mirror", a, rule.On)
		}
	}
	return nil
}

// touches reports whether a glob can match a private name, and one of a mirror.
func (n Names) touches(glob string) (private, mirror bool) {
	within := false
	for _, host := range n.Mirrors {
		mirror = mirror || globs.Overlap(glob, host+"/**")
		within = within || globs.Within(glob, host)
	}
	if within {
		return false, true
	}
	if len(n.Private) == 0 {
		return globs.Overlap(glob, "**"), mirror
	}
	for _, p := range n.Private {
		private = private || globs.Overlap(glob, p)
	}
	return private, mirror
}

func (n Names) String() string {
	text := "private " + n.Private.String()
	if len(n.Private) == 0 {
		text = "all private names"
	}
	for _, host := range n.Mirrors {
		text += ", mirror " + host
	}
	return text
}
