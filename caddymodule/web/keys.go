package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

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
	if !in {
		toSignIn(w, r)
		return
	}
	p := page{Title: "API keys", Who: who, Host: r.Host}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		next, err := s.change(r, who, &p)
		switch {
		case err == nil && next != "":
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		case s.refused(w, r, who, err):
			return
		case errors.Is(err, identity.ErrTooManyKeys):
			status, p.Problem = http.StatusForbidden, err.Error()
		case errors.Is(err, identity.ErrKeyInvalid), errors.Is(err, identity.ErrUserInvalid), errors.Is(err, errForm):
			status, p.Problem = http.StatusBadRequest, err.Error()
		case err != nil:
			s.broken(w, r, err)
			return
		}
	}
	p.MaxDays = int(s.Identity.Keys().MaxLifetime() / (24 * time.Hour))
	p.Follows, p.Known = s.follows(who.User)
	p.Local = identity.IsLocal(who)
	if p.Admin = s.Admins.Includes(who); p.Admin {
		p.Keys, p.Users = s.Identity.Keys().List(""), s.Identity.Users().List()
	} else {
		p.Keys = s.Identity.Keys().List(who.User)
	}
	s.render(w, r, status, "keys", p)
}

// toSignIn leads to the sign-in, and from there to the page of the keys.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/login?return=%2Fuser%2Fapikey", http.StatusSeeOther)
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
func (s *Site) follows(user string) (follows, known bool) {
	record, known := s.Identity.Users().Get(user)
	return len(record.Refresh) > 0, known
}

var (
	errForbidden = errors.New("only an admin may do this")
	errForm      = errors.New("the form is not right")
)

// change performs the action of a form, and returns the path for the redirect: empty if the page
// itself has something to show.
func (s *Site) change(r *http.Request, who policies.Identity, p *page) (next string, err error) {
	if err := r.ParseForm(); err != nil {
		return "", fmt.Errorf("%w: %w", errForm, err)
	}
	form := r.PostForm
	confirmed := form.Get("sure") == "yes"
	switch do := form.Get("do"); {
	case do == "make":
		return "", s.makeKey(r, who, form, p)
	case do == "revoke" && !confirmed:
		return revokePath + "?" + url.Values{"id": {form.Get("id")}}.Encode(), nil
	case do == "revoke":
		_, err := s.revoke(r, asked{Identity: who}, form.Get("id"))
		return keysPath, err
	case do == "disable" && !confirmed:
		return disablePath + "?" + url.Values{"user": {form.Get("user")}}.Encode(), nil
	case do == "disable", do == "enable":
		return keysPath, s.setDisabled(r, who, form.Get("user"), do == "disable")
	}
	return "", errForm
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

func (s *Site) makeKey(r *http.Request, who policies.Identity, form url.Values, p *page) error {
	days, err := strconv.Atoi(form.Get("days"))
	if err != nil || days < 1 || days > 100_000 {
		return fmt.Errorf("%w: a lifetime is a number of days", errForm)
	}
	want := identity.NewKey{
		Name: strings.TrimSpace(form.Get("name")), Lifetime: time.Duration(days) * 24 * time.Hour,
		Actions: form["action"], Globs: strings.Fields(form.Get("globs")),
	}
	if service := strings.TrimSpace(form.Get("service")); service != "" {
		want.User, want.Service, want.Groups = service, true, strings.Fields(form.Get("groups"))
	}
	p.Secret, p.New, err = s.create(r, who, want)
	return err
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
