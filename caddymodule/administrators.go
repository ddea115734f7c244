package caddymodule

import (
	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// roster is what the configuration says about administrators. The policy must be known.
func (a *App) roster() *admins.Roster {
	roster := &admins.Roster{Policy: a.policy}
	for _, user := range a.LocalUsers {
		roster.Locals = append(roster.Locals, policies.Identity{User: user.Name, Groups: user.Groups})
	}
	if a.OIDC != nil {
		roster.Issuer, roster.Allowed = a.OIDC.Issuer, a.OIDC.AllowedGroups
	}
	return roster
}

// unprovisionedRoster is roster for a command, which has no more than the configuration.
func (a *App) unprovisionedRoster() (*admins.Roster, error) {
	if err := a.provisionSite(); err != nil {
		return nil, err
	}
	if err := a.provisionMirrors(); err != nil {
		return nil, err
	}
	rules, err := a.allRules()
	if err != nil {
		return nil, err
	}
	a.policy = policies.NewRules(rules...)
	return a.roster(), nil
}

// warnOfNoAdmin logs that nobody can administer the registry on its pages. The storage
// must be acquired.
func (a *App) warnOfNoAdmin() {
	if a.admins.Missing(a.rules, a.storage.Callers().Identity.Users().List()) {
		a.log.Warn(admins.Warning, "effect", admins.Effect, "remedy", admins.Remedy)
	}
}

// userChanged audits a change of a user, and logs that nobody is left who can
// administer the registry: the provider may have taken the group of the last one away.
func (a *App) userChanged(change identity.UserChange) {
	a.audit.UserChanged(change)
	if a.admins.TookLast(change) {
		a.log.Warn(admins.Warning, "user", change.After.Name, "effect", admins.Effect, "remedy", admins.Remedy)
	}
}
