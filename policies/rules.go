package policies

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core/globs"
)

// Rule is one line of a policy.
type Rule struct {
	// Deny refuses instead of allowing.
	Deny bool
	Who  Subject
	// Actions are the actions that it allows or denies.
	Actions []Action
	// On are the repositories where the rule holds. None: all of them.
	On globs.Globs
	// Line says where the rule is written, for explanations. It may be empty.
	Line string
}

// Rules are a policy of rules. An action is allowed if a rule allows it and no rule
// denies it: no pattern hides another, and the order does not matter.
type Rules struct {
	rules  []compiled
	source []Rule
	// mirrors are all mirrors, and concealing those that may hold what their upstreams hide.
	mirrors, concealing []string
}

// compiled is a rule in the form that requests evaluate, without an allocation.
type compiled struct {
	deny    bool
	actions uint8
	who     Subject
	on      globs.Globs
}

// NewRules makes a policy. NewRules() allows nothing.
func NewRules(rules ...Rule) *Rules {
	r := &Rules{source: slices.Clone(rules)}
	for _, rule := range rules {
		var set uint8
		for _, a := range rule.Actions {
			set |= 1 << a
		}
		r.rules = append(r.rules, compiled{rule.Deny, set, rule.Who, rule.On})
	}
	return r
}

// Allows implements Policy.
func (r *Rules) Allows(who Identity, action Action, repo string) bool {
	allow, deny := r.decide(&who, action, repo)
	return allow >= 0 && deny < 0 && who.Narrow.permits(action, repo)
}

// covers reports whether patterns include a repository. repo is empty for the registry
// itself, which only a rule without patterns includes.
func covers(on globs.Globs, repo string) bool {
	if len(on) == 0 {
		return true
	}
	if repo == "" {
		return slices.Contains(on, "**")
	}
	return on.Match(repo)
}

// decide finds the first rule that allows, and the first that denies, or -1.
func (r *Rules) decide(who *Identity, action Action, repo string) (allow, deny int) {
	allow = -1
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.actions&(1<<action) == 0 || !rule.deny && allow >= 0 {
			continue
		}
		if rule.deny && !rule.who.excludes(who) || !rule.deny && !rule.who.includes(who) {
			continue
		}
		if !covers(rule.on, repo) {
			continue
		}
		if rule.deny {
			return allow, i
		}
		allow = i
	}
	return allow, -1
}

// Explain decides as Allows does, and returns the rule that decided: the one that
// denies, else one that allows. nil: no rule allows it. It ignores a narrowing of the
// credential, which is not a line of a policy.
func (r *Rules) Explain(who Identity, action Action, repo string) (bool, *Rule) {
	switch allow, deny := r.decide(&who, action, repo); {
	case deny >= 0:
		return false, &r.source[deny]
	case allow >= 0:
		return true, &r.source[allow]
	}
	return false, nil
}

// MayWithin reports whether who may do something in any repository that the pattern
// could match. It notices that deny rules leave no such repository only if one of them
// covers the whole pattern by itself.
func (r *Rules) MayWithin(who Identity, action Action, pattern string) bool {
	if n := who.Narrow; n != nil && (len(n.Actions) > 0 && !slices.Contains(n.Actions, action) || !meet(n.On, globs.Globs{pattern})) {
		return false
	}
	allowed := false
	for _, rule := range r.source {
		switch {
		case !slices.Contains(rule.Actions, action):
		case rule.Deny:
			if rule.Who.excludes(&who) && (len(rule.On) == 0 || slices.Contains(rule.On, "**") || slices.Contains(rule.On, pattern)) {
				return false
			}
		case rule.Who.includes(&who) && meet(rule.On, globs.Globs{pattern}):
			allowed = true
		}
	}
	return allowed
}

// AllowsEverywhere implements Everywhere. A rule that denies the action anywhere ends it.
func (r *Rules) AllowsEverywhere(who Identity, action Action) bool {
	if n := who.Narrow; n != nil && (len(n.On) > 0 || !n.permits(action, "")) {
		return false
	}
	allowed := false
	for i := range r.rules {
		rule := &r.rules[i]
		switch {
		case rule.actions&(1<<action) == 0:
		case rule.deny && rule.who.excludes(&who):
			return false
		case !rule.deny && rule.who.includes(&who):
			allowed = allowed || covers(rule.on, "")
		}
	}
	return allowed
}

// AllowsWithin reports whether who may do something in every repository of a mirror. A rule allows that
// if it has no patterns, or one that is ** or all of the mirror. One that denies the action in any
// repository of it ends it.
func (r *Rules) AllowsWithin(who Identity, action Action, mirror string) bool {
	pattern := mirror + "/**"
	all := func(on globs.Globs) bool {
		return len(on) == 0 || slices.Contains(on, "**") || slices.Contains(on, pattern)
	}
	if n := who.Narrow; n != nil {
		within := Narrowing{Actions: n.Actions}
		if !all(n.On) || !within.permits(action, "") {
			return false
		}
	}
	allowed := false
	for _, rule := range r.source {
		switch {
		case !slices.Contains(rule.Actions, action):
		case rule.Deny:
			if rule.Who.excludes(&who) && meet(rule.On, globs.Globs{pattern}) {
				return false
			}
		case rule.Who.includes(&who) && all(rule.On):
			allowed = true
		}
	}
	return allowed
}

// Rules returns the rules, which the caller must not change.
func (r *Rules) Rules() []Rule { return r.source }

// ParseRule reads what follows `allow` or `deny`. Its errors are sentences for an
// operator. Syntax:
//
//	<who> <actions...>|* [on <globs...>]
func ParseRule(deny bool, words []string) (Rule, error) {
	who, rest, err := ParseSubject(words)
	if err != nil {
		return Rule{}, err
	}
	rule := Rule{Deny: deny, Who: who}
	actions, on := rest, []string(nil)
	if i := slices.Index(rest, "on"); i >= 0 {
		actions, on = rest[:i], rest[i+1:]
		if len(on) == 0 {
			return Rule{}, errors.New("on which repositories? write: on <globs>")
		}
	}
	if rule.Actions, err = parseActions(actions); err != nil {
		return Rule{}, err
	}
	rule.On, err = globs.Parse(on...)
	return rule, err
}

func parseActions(words []string) ([]Action, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("which actions? there are %s and *", strings.Join(actionNames[:len(Actions)], ", "))
	}
	if len(words) == 1 && words[0] == "*" {
		return Actions, nil
	}
	var actions []Action
	for _, word := range words {
		a, err := ParseAction(word)
		if err != nil {
			return nil, err
		}
		actions = append(actions, a)
	}
	return actions, nil
}

// String returns the rule as a policy writes it.
func (r Rule) String() string {
	words := []string{"allow", r.Who.String()}
	if r.Deny {
		words[0] = "deny"
	}
	if slices.Equal(r.Actions, Actions) {
		words = append(words, "*")
	} else {
		for _, a := range r.Actions {
			words = append(words, a.String())
		}
	}
	if len(r.On) > 0 {
		words = append(append(words, "on"), r.On...)
	}
	return strings.Join(words, " ")
}

var _ Policy = (*Rules)(nil)
