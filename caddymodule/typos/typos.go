// Package typos finds what is most likely a misspelt name of a group, user or key: in
// rules, in the configuration, and on the command line. Everything that it reports may
// be right, because a group or a user may come tomorrow, so its results are warnings.
//
//	for _, text := range typos.Groups([]string{"admin"}, typos.Ruled(rules)) {
//		warn(text) // no rule of the policy names the group "admin"; did you mean "admins"?
//	}
package typos

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/workload"
	"github.com/eblume/caddy-registry/core/nearby"
	"github.com/eblume/caddy-registry/policies"
)

// maxKnown bounds how many names a word is compared with: each costs some microseconds,
// and people sign in without end.
const maxKnown = 10_000

// Ruled returns the groups that rules are about, each once.
func Ruled(rules []policies.Rule) (groups []string) {
	for _, rule := range rules {
		if name, ok := rule.Who.NamesGroup(); ok {
			groups = append(groups, name)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// Groups returns a sentence for each group that no rule names, of those that are ruled.
func Groups(groups, ruled []string) (warnings []string) {
	for _, group := range groups {
		if !slices.Contains(ruled, group) {
			warnings = append(warnings, fmt.Sprintf("no rule of the policy names the group %q%s", group, meant(group, ruled)))
		}
	}
	return warnings
}

// Misspelt is Groups for those that are near to one that a rule names, and for no other.
func Misspelt(groups, ruled []string) (warnings []string) {
	return Groups(slices.DeleteFunc(slices.Clone(groups), func(group string) bool {
		return nearby.Of(group, ruled...) == ""
	}), ruled)
}

// User returns a sentence about a user that is not known, or nothing. The names of jobs
// are in no record.
func User(name string, known []string) string {
	if slices.Contains(known, name) || strings.HasPrefix(name, workload.UserPrefix) {
		return ""
	}
	return fmt.Sprintf("nobody named %q has signed in, has an API key or is a local_user%s", name, meant(name, known))
}

func meant(word string, candidates []string) string {
	if len(candidates) > maxKnown {
		candidates = candidates[:maxKnown]
	}
	if found := nearby.Of(word, candidates...); found != "" {
		return fmt.Sprintf("; did you mean %q?", found)
	}
	return ""
}

// Finding is a rule that is most likely misspelt, and why.
type Finding struct {
	policies.Rule
	Reason string
}

// Sources says which names of users there can be besides those of people.
type Sources struct {
	// Jobs are there with a trusted_issuer, and Certificates with a client_cert.
	Jobs, Certificates bool
}

// Impossible returns the rules that are about a user or a key that cannot be.
func Impossible(rules []policies.Rule, sources Sources) (found []Finding) {
	for _, rule := range rules {
		if reason := impossible(rule.Who, sources); reason != "" {
			found = append(found, Finding{rule, reason})
		}
	}
	return found
}

func impossible(who policies.Subject, sources Sources) string {
	if name, ok := who.NamesUser(); ok {
		err := identity.CheckMachineName(name)
		switch {
		case err != nil:
			return err.Error()
		case strings.HasPrefix(name, workload.UserPrefix) && !sources.Jobs:
			return "only the jobs of a trusted_issuer have such names, and there is none"
		case strings.Contains(name, ":") && !strings.HasPrefix(name, workload.UserPrefix) && !sources.Certificates:
			return "a name with a colon is that of a client certificate, and there is no client_cert; those of jobs begin with " + workload.UserPrefix
		}
	}
	if key, ok := who.NamesKey(); ok && key.Label != "" {
		if err := identity.CheckLabel(key.Label); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Unmet returns the rules about a user or a group that is not known, and near to one that
// is. A rule about nobody who is known may be right: they may come tomorrow.
func Unmet(rules []policies.Rule, users, groups []string) (found []Finding) {
	for _, rule := range rules {
		name, known := "", groups
		if group, ok := rule.Who.NamesGroup(); ok {
			name = group
		} else if user, ok := rule.Who.NamesUser(); ok {
			name, known = user, users
		}
		if name == "" || slices.Contains(known, name) {
			continue
		}
		if hint := meant(name, known); hint != "" {
			found = append(found, Finding{rule, "nobody who is known has this name" + hint})
		}
	}
	return found
}
