package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// LocalUser is a person with a password that stands in the configuration as a hash:
// for the day the sign-in provider is down, or where there is none. The password is
// taken at /token and on the login page, and never below /v2/.
type LocalUser struct {
	// Name is what policies, logs and pages call the user. It has no colon.
	Name string `json:"name"`

	// Hash is what `caddy-registry hash-password --algorithm bcrypt` makes of the
	// password, with a cost of 10 to 14; or a placeholder for it, such as
	// {file./run/secrets/erich}, that is resolved at the start.
	Hash string `json:"hash"`

	// Groups are those of the user. Default: none.
	Groups []string `json:"groups,omitempty"`

	// Line is where the user stands in the Caddyfile, for messages. Default: none.
	Line string `json:"line,omitempty"`
}

func isPlaceholder(text string) bool { return option.CheckSecret(text) == nil }

// check refuses what can be nobody. It does not resolve the hash.
func (u LocalUser) check() error {
	if err := identity.CheckUserName(u.Name); err != nil {
		return err
	}
	for _, group := range u.Groups {
		if strings.TrimSpace(group) == "" || strings.ContainsFunc(group, unicode.IsControl) {
			return fmt.Errorf("invalid group name %q", group)
		}
	}
	if isPlaceholder(u.Hash) {
		return nil
	}
	return identity.CheckPasswordHash(u.Hash)
}

// located says about whom, and where it is written, something is wrong.
func (u LocalUser) located(err error) error {
	if err = fmt.Errorf("local_user %s: %w", u.Name, err); u.Line != "" {
		err = fmt.Errorf("%s: %w", u.Line, err)
	}
	return err
}

// resolved is the user with the hash.
func (u LocalUser) resolved() (identity.LocalUser, error) {
	hash := u.Hash
	if isPlaceholder(hash) {
		var err error
		if hash, err = option.Resolve("hash", hash); err != nil {
			return identity.LocalUser{}, u.located(err)
		}
		hash = strings.TrimSpace(hash) // a file ends with a line
		if err := identity.CheckPasswordHash(hash); err != nil {
			return identity.LocalUser{}, u.located(err)
		}
	}
	return identity.LocalUser{Name: u.Name, Hash: hash, Groups: u.Groups}, nil
}

// provisionLocalUsers checks the users, and leaves their hashes to the first who needs
// them: Start, or a request.
func (a *App) provisionLocalUsers() error {
	for i, user := range a.LocalUsers {
		if err := user.check(); err != nil {
			return user.located(err)
		}
		if slices.ContainsFunc(a.LocalUsers[:i], func(other LocalUser) bool { return other.Name == user.Name }) {
			return user.located(errors.New("there is another of this name"))
		}
	}
	a.locals = sync.OnceValues(func() (*identity.Locals, error) {
		var users []identity.LocalUser
		for _, user := range a.LocalUsers {
			resolved, err := user.resolved()
			if err != nil {
				return nil, err
			}
			users = append(users, resolved)
		}
		return identity.NewLocals(users, a.shared.passwords), nil
	})
	return nil
}

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

// unmarshalLocalUser reads an option. Syntax:
//
//	local_user <name> <bcrypt hash> [<groups...>]
func (a *App) unmarshalLocalUser(d *caddyfile.Dispenser) error {
	line := fmt.Sprintf("%s:%d", d.File(), d.Line())
	words := d.RemainingArgs()
	if len(words) < 2 {
		return d.Err("write: local_user <name> <bcrypt hash> <groups...>; `caddy-registry hash-password --algorithm bcrypt` makes the hash")
	}
	a.LocalUsers = append(a.LocalUsers, LocalUser{Name: words[0], Hash: words[1], Groups: words[2:], Line: line})
	return nil
}
