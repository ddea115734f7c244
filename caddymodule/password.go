package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// knownLocals are the local users; none before their hashes could be read, which Start
// reports.
func (a *App) knownLocals() *identity.Locals {
	locals, err := a.locals()
	if err != nil {
		return nil
	}
	return locals
}

// verifyPassword is what the form on the login page asks.
func (h *Handler) verifyPassword(r *http.Request, user, password string) (policies.Identity, error) {
	credential := identity.Credential{Place: identity.AtLogin, Address: clientAddress(r)}
	broken := credential.SetBasic(user, password)
	if broken == nil && !credential.Presented() {
		broken = fmt.Errorf("empty form: %w", identity.ErrCredential)
	}
	who, err := h.gate().Admit(r.Context(), credential, broken, connectionOf(r), nil)
	observe.CountLogin(who.Method, err)
	if err != nil {
		h.tellRefused(who, asked{credential: credential}, r.URL.Path, err)
	}
	return who.Identity, err
}

// wrongPassword is an error of verifyPassword in words for the page, and its status.
func wrongPassword(err error) (status int, problem string) {
	switch {
	case errors.Is(err, core.ErrUnauthorized):
		return http.StatusForbidden, "The user name or the password is wrong."
	case errors.Is(err, core.ErrTooManyRequests):
		return http.StatusTooManyRequests, "Too many passwords are being tried just now, for this user, from your network or in all. Try again in a moment."
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, ""
	}
	return http.StatusServiceUnavailable, "The registry cannot look at it now. Its log says why."
}
