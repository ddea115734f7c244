package caddymodule

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
)

// provisionAuthenticators makes the guest modules.
func (a *App) provisionAuthenticators(ctx caddy.Context) error {
	if a.AuthenticatorsRaw == nil {
		return nil
	}
	modules, err := ctx.LoadModule(a, "AuthenticatorsRaw")
	if err != nil {
		return err
	}
	a.authenticators, err = authenticators.Join(modules.([]any))
	return err
}
