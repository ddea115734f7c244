package caddymodule

import (
	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/identity"
)

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
