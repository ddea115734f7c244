package policies

import (
	"slices"
	"strings"
)

// Concealing is what a Policy can also tell: whether figures over everything that repo shares content
// with, or over all repositories if repo is empty, could reveal to a caller who reads all of it what an
// upstream hides.
type Concealing interface {
	Conceals(who Identity, repo string) bool
}

// Mirrors returns the policy for a registry with mirrors of these names. concealing are those among
// them whose upstream is asked with credentials: they may hold repositories that only Reveal shows.
func (r *Rules) Mirrors(names, concealing []string) *Rules {
	of := *r
	of.mirrors, of.concealing = slices.Clone(names), slices.Clone(concealing)
	return &of
}

// Conceals implements Concealing. The mirrors share their content with each other, and with nothing
// else. Administrators know what there is, though they need not be able to pull it.
func (r *Rules) Conceals(who Identity, repo string) bool {
	if of, _, _ := strings.Cut(repo, "/"); repo != "" && !slices.Contains(r.mirrors, of) {
		return false
	}
	return len(r.concealing) > 0 && !r.Allows(who, Admin, "") &&
		slices.ContainsFunc(r.concealing, func(mirror string) bool { return !r.AllowsWithin(who, Reveal, mirror) })
}

var _ Concealing = (*Rules)(nil)
