package web

import (
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// The pages that ask for a confirmation before an action that is harmful by mistake.
const (
	revokePath  = keysPath + "/revoke"
	disablePath = keysPath + "/disable"
)

// userShown is a user that an admin is about to disable.
type userShown struct {
	Name     string
	Disabled bool // already
	Unknown  bool // the name is not known
	Keys     []identity.Key
}

// confirm shows a key or a user, and explains the effect of revoking or disabling it.
// Showing changes nothing, so going back to it and reloading it are harmless; its form
// goes to the page of the keys.
func (s *Site) confirm(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	if !in {
		toSignIn(w, r)
		return
	}
	p, name := page{Who: who}, "revoke"
	var err error
	if query := r.URL.Query(); r.URL.Path == revokePath {
		p.Title = "Revoke a key"
		p.Key, err = s.revocable(who, query.Get("id"))
	} else {
		p.Title, name = "Disable a user", "disable"
		p.User, err = s.disablable(who, query.Get("user"))
	}
	switch {
	case s.refused(w, r, who, err):
	case err != nil:
		s.fail(w, r, http.StatusBadRequest, "There is no such user", sentence(err))
	default:
		s.render(w, r, http.StatusOK, name, p)
	}
}

// revocable returns a key that the user may revoke. Errors: identity.ErrKeyUnknown.
func (s *Site) revocable(who policies.Identity, id string) (identity.Key, error) {
	key, ok := s.Identity.Keys().Get(id)
	if !ok || !s.mayTouch(asked{Identity: who}, key) {
		return identity.Key{}, identity.ErrKeyUnknown
	}
	return key, nil
}

// disablable returns a user that the admin may disable. The right is checked again when the user
// is disabled. Errors: errForbidden, those of admins.Roster.Check, identity.ErrUserInvalid.
func (s *Site) disablable(who policies.Identity, name string) (userShown, error) {
	if !s.Admins.Includes(who) {
		return userShown{}, errForbidden
	}
	if err := identity.CheckMachineName(name); err != nil { // workloads are disabled, too
		return userShown{}, err
	}
	if err := s.Admins.Check(s.Identity.Users().List(), who.User, name); err != nil {
		return userShown{}, err
	}
	user, known := s.Identity.Users().Get(name)
	shown := userShown{Name: name, Disabled: user.Disabled, Keys: s.Identity.Keys().Active(name)}
	shown.Unknown = !known && len(shown.Keys) == 0 && !s.Locals.Knows(name)
	return shown, nil
}
