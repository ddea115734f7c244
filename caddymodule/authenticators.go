package caddymodule

import "github.com/caddyserver/caddy/v2"

// provisionAuthenticators makes the guest modules.
func (a *App) provisionAuthenticators(ctx caddy.Context) error {
	if a.AuthenticatorsRaw == nil {
		return nil
	}
	modules, err := ctx.LoadModule(a, "AuthenticatorsRaw")
	if err != nil {
		return err
	}
	a.authenticators, err = joinAuthenticators(modules.([]any))
	return err
}
