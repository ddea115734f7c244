package running

import (
	"context"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/web"
)

// SignInSpec is the sign-in of a configuration.
type SignInSpec struct {
	Key      string // of the provider: configurations with the same key share it
	Provider *oidclogin.Provider
	Settings oidclogin.Settings
	// Refresh is the maximum age of a user's groups.
	Refresh time.Duration
}

// SignIn is a provider with the records of its users in an open storage.
type SignIn struct {
	Provider *oidclogin.Provider
	Login    *oidclogin.Login
	Follower *oidclogin.Follower
}

// SignIn returns the sign-in of a configuration, and makes it if it is new: with that
// configuration's settings, which apply until the next Start.
func (c *Callers) SignIn(spec *SignInSpec) *SignIn {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.signIns[spec.Key]
	if found == nil || found.Provider != spec.Provider {
		found = &SignIn{Provider: spec.Provider, Login: oidclogin.NewLogin(spec.Provider, c.Sessions)}
		found.Follower = oidclogin.NewFollower(spec.Provider, c.Sessions, c.Identity.Users(), func(ctx context.Context, user string) {
			web.EndAll(ctx, c.Sessions, user, c.log)
		}, c.log)
		found.apply(spec)
		c.signIns[spec.Key] = found
	}
	return found
}

func (s *SignIn) apply(spec *SignInSpec) {
	s.Provider.Configure(spec.Settings)
	s.Follower.SetInterval(spec.Refresh)
}
