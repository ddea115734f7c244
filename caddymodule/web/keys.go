package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// keysPath is the page of the keys.
const keysPath = "/user/apikey"

// keys shows a user's keys, makes one, and revokes one. An admin also makes keys for
// service accounts, without becoming one, and disables users. Revoking and disabling
// take a form that was confirmed: see confirm.
func (s *Site) keys(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	switch {
	case !in:
		toSignIn(w, r)
	case r.Method == http.MethodPost:
		s.changed(w, r, who, https)
	default:
		p := page{Title: "API keys", Who: who, Wide: true, Local: identity.IsLocal(who), Provider: s.Login != nil}
		p.Follows = s.follows(who.User)
		p.Admin = s.Admins.Includes(who)
		p.Keys, p.Part = s.keyRows(s.Identity.Keys().List(who.User), r.URL.Query().Get("after"), keysPath, nil)
		s.render(w, r, http.StatusOK, "keys", p)
	}
}

// changed performs the action of a form, and leads to a page that can be reloaded.
func (s *Site) changed(w http.ResponseWriter, r *http.Request, who policies.Identity, https bool) {
	next, key, err := s.change(r, who)
	if err == nil && key.Secret != "" {
		err = s.bring(w, who, key, https)
	}
	status := http.StatusBadRequest
	switch {
	case err == nil:
		http.Redirect(w, r, next, http.StatusSeeOther)
	case s.refused(w, r, who, err):
	case errors.Is(err, identity.ErrTooManyKeys):
		status = http.StatusForbidden
		fallthrough
	case errors.Is(err, identity.ErrKeyInvalid), errors.Is(err, identity.ErrUserInvalid), errors.Is(err, errForm):
		s.askForKey(w, r, status, who, r.PostForm, err.Error())
	default:
		s.broken(w, r, err)
	}
}

// toSignIn leads to the sign-in, and from there back to a list, or to the page of the keys.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	back := keysPath
	if slices.Contains([]string{newPath, adminKeysPath, adminUsersPath}, r.URL.Path) {
		back = r.URL.Path
	}
	http.Redirect(w, r, "/login?"+url.Values{"return": {back}}.Encode(), http.StatusSeeOther)
}

// refused answers a change that the user may not make, and reports whether it did.
func (s *Site) refused(w http.ResponseWriter, r *http.Request, who policies.Identity, err error) bool {
	status, title, text := http.StatusForbidden, "Not yours to change", "There is no such key, or only an admin may do this."
	switch {
	case errors.Is(err, admins.ErrSelf), errors.Is(err, admins.ErrLast):
		status, title, text = http.StatusConflict, "Nobody was disabled", sentence(err)
	case errors.Is(err, admins.ErrDisabled):
		title, text = "This user is disabled", "Another admin has just disabled you. Nothing was changed."
	case !errors.Is(err, errForbidden) && !errors.Is(err, identity.ErrKeyUnknown):
		return false
	}
	s.render(w, r, status, "error", page{Title: title, Text: text, Who: who})
	return true
}

// sentence is an error as the text of a page.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// follows reports whether the groups of a user follow the provider.
func (s *Site) follows(user string) bool {
	record, _ := s.Identity.Users().Get(user)
	return len(record.Refresh) > 0
}

var (
	errForbidden = errors.New("only an admin may do this")
	errForm      = errors.New("the form is not right")
)

// change performs the action of a form, and returns the path for the redirect, and the key that was
// made, if any.
func (s *Site) change(r *http.Request, who policies.Identity) (next string, key made, err error) {
	if err := r.ParseForm(); err != nil {
		return "", made{}, fmt.Errorf("%w: %w", errForm, err)
	}
	form := r.PostForm
	confirmed := form.Get("sure") == "yes"
	switch do := form.Get("do"); {
	case do == "make":
		key, err = s.makeKey(r, who, form)
		return madePath, key, err
	case do == "revoke" && !confirmed:
		return revokePath + "?" + url.Values{"id": {form.Get("id")}}.Encode(), made{}, nil
	case do == "revoke":
		revoked, err := s.revoke(r, asked{Identity: who}, form.Get("id"))
		return afterRevoking(who, revoked), made{}, err
	case do == "disable" && !confirmed:
		return disablePath + "?" + url.Values{"user": {form.Get("user")}}.Encode(), made{}, nil
	case do == "disable", do == "enable":
		return adminUsersPath, made{}, s.setDisabled(r, who, form.Get("user"), do == "disable")
	}
	return "", made{}, errForm
}

// setDisabled disables a user, or enables one again, for an admin.
// Errors: errForbidden, those of admins.Roster.Disable.
func (s *Site) setDisabled(r *http.Request, who policies.Identity, user string, disabled bool) (err error) {
	if !s.Admins.Includes(who) {
		return errForbidden
	}
	event, ctx := "user_enabled", identity.As(r.Context(), who.User)
	if disabled {
		event = "user_disabled"
		_, err = s.Admins.Disable(ctx, s.Identity.Users(), who.User, user)
	} else {
		_, err = s.Identity.Users().SetDisabled(ctx, user, false)
	}
	if err != nil {
		return err
	}
	if disabled {
		s.endAll(r.Context(), user)
	}
	s.Audit(r.Context(), event, who, "account", user)
	return nil
}

// create makes a key: of the user, or of a service account if the user is an admin.
func (s *Site) create(r *http.Request, who policies.Identity, want identity.NewKey) (string, identity.Key, error) {
	want.By = who.User
	switch {
	case !want.Service:
		want.User, want.Local = who.User, identity.IsLocal(who)
	case !s.Admins.Includes(who):
		return "", identity.Key{}, errForbidden
	}
	secret, key, err := s.Identity.Keys().Create(r.Context(), want)
	if err == nil {
		s.Audit(r.Context(), "key_made", who, "key", key.ID, "user", key.User, "expires", key.Expires)
	}
	return secret, key, err
}

// revoke ends a key. Errors: identity.ErrKeyUnknown, also for a key of another user.
func (s *Site) revoke(r *http.Request, who asked, id string) (identity.Key, error) {
	key, ok := s.Identity.Keys().Get(id)
	if !ok || !s.mayTouch(who, key) {
		return identity.Key{}, identity.ErrKeyUnknown
	}
	key, err := s.Identity.Keys().Revoke(identity.As(r.Context(), who.User), key.ID)
	if err == nil {
		s.Audit(r.Context(), "key_revoked", who.Identity, "key", key.ID, "user", key.User)
	}
	return key, err
}

// actions returns the actions to which a key can be narrowed.
func actions() []string {
	var names []string
	for _, action := range []policies.Action{policies.Read, policies.Fetch, policies.Create, policies.Update, policies.Delete} {
		names = append(names, action.String())
	}
	return slices.Clip(names)
}
