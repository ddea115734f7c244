package caddymodule

import (
	"errors"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// decision is whether somebody may do something in a repository.
type decision struct {
	action  policies.Action
	allowed bool
	// narrowed: the rules allow it, but not with this credential.
	narrowed bool
	// rule decides. nil: no rule allows it, or the policy has none.
	rule *policies.Rule
}

func (a *App) decide(who policies.Identity, repo string, action policies.Action) decision {
	d := decision{action: action, allowed: a.policy.Allows(who, action, repo)}
	if rules, ok := a.policy.(*policies.Rules); ok {
		var may bool
		may, d.rule = rules.Explain(who, action, repo)
		d.narrowed = may && !d.allowed
	}
	return d
}

// rights returns what the caller may do in a repository, and by which rules.
func (c *call) rights(repo string) []api.Right {
	actions := []policies.Action{policies.Read, policies.Create, policies.Update, policies.Delete}
	if c.mirrorOf(repo) != "" {
		actions = []policies.Action{policies.Read, policies.Fetch, policies.Delete}
	}
	var rights []api.Right
	for _, action := range actions {
		d := c.app.decide(c.who.Identity, repo, action)
		right := api.Right{Action: action.String(), Allowed: d.allowed, Narrowed: d.narrowed}
		if d.rule != nil && !c.who.Anonymous() {
			right.Rule, right.Line = c.app.ruleFor(c.who.Identity, *d.rule, repo).String(), d.rule.Line
		}
		rights = append(rights, right)
	}
	return rights
}

// ruleFor returns a rule that decides in a repository as the caller may know it: without its patterns
// for other repositories, unless the caller administers the registry. They may be names of such that the
// caller may not read.
func (a *App) ruleFor(who policies.Identity, rule policies.Rule, repo string) policies.Rule {
	if a.policy.Allows(who, policies.Admin, "") {
		return rule
	}
	var on globs.Globs
	for _, glob := range rule.On {
		if (globs.Globs{glob}).Match(repo) {
			on = append(on, glob)
		}
	}
	rule.On = on
	return rule
}

// shownRights is rights for a page. A visitor without a name is shown the rule that decides, too: it
// is about anonymous callers, so it names nobody.
func (h *Handler) shownRights(who policies.Identity, repo string) (rights []pages.Right) {
	mirror := h.mirrorOf(repo)
	for _, action := range []policies.Action{policies.Read, policies.Fetch, policies.Create, policies.Update, policies.Delete} {
		right := pages.Right{Action: action}
		switch d := h.app.decide(who, repo, action); {
		case mirror == "" && action == policies.Fetch:
			right.Why = "only mirrors fetch"
		case mirror != "" && (action == policies.Create || action == policies.Update):
			right.Why = "nothing is pushed to a mirror"
		default:
			right.Allowed = d.allowed
			if d.rule == nil {
				break
			}
			if !who.Anonymous() {
				right.Line = d.rule.Line
			}
			right.Rule = h.app.ruleFor(who, *d.rule, repo).String()
		}
		rights = append(rights, right)
	}
	return rights
}

// pageRefused records what a page was asked to do and that was refused, as below /v2/.
func (h *Handler) pageRefused(r *http.Request, who policies.Identity, repo string, action policies.Action, err error) {
	c := &call{Handler: h, r: r, who: identity.Proven{Identity: who}}
	c.asked.credential.Address = who.Address
	kind := wire.PutManifest
	switch action {
	case policies.Delete:
		kind = wire.DeleteManifest
	case policies.Fetch:
		kind = wire.Manifest
	}
	c.Resolved = namespace.Resolved{Request: wire.Request{Kind: kind, Name: repo, Repo: repo}, Mirror: h.mirrorOf(repo)}
	status := http.StatusForbidden
	if errors.Is(err, core.ErrNameUnknown) {
		status = http.StatusNotFound
	}
	c.auditDenial(wire.Outcome{Err: err, Status: status})
}
