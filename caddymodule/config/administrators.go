package config

import (
	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/policies"
)

// Roster returns the administrators according to the configuration. policy is that of Rules.
func (r *Registry) Roster(policy policies.Policy) *admins.Roster {
	roster := &admins.Roster{Policy: policy}
	for _, user := range r.LocalUsers {
		roster.Locals = append(roster.Locals, policies.Identity{User: user.Name, Groups: user.Groups})
	}
	if r.OIDC != nil {
		roster.Issuer, roster.Allowed = r.OIDC.Issuer, r.OIDC.AllowedGroups
	}
	return roster
}
