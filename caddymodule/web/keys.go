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

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// keys shows somebody's keys, makes one, and revokes one. An admin also makes keys for
// service accounts, without becoming one, and disables users.
func (s *Site) keys(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	if !in {
		http.Redirect(w, r, "/login?return=%2Fuser%2Fapikey", http.StatusSeeOther)
		return
	}
	p := page{Title: "API keys", Who: who, Host: r.Host}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		done, err := s.change(r, who, &p)
		switch {
		case err == nil && done:
			http.Redirect(w, r, "/user/apikey", http.StatusSeeOther)
			return
		case errors.Is(err, errForbidden), errors.Is(err, identity.ErrKeyUnknown):
			s.fail(w, r, http.StatusForbidden, "Not yours to change", "There is no such key, or only an admin may do this.")
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
	if p.Admin = s.Admin(who); p.Admin {
		p.Keys, p.Users = s.Identity.Keys().List(""), s.Identity.Users().List()
	} else {
		p.Keys = s.Identity.Keys().List(who.User)
	}
	s.render(w, r, status, "keys", p)
}

// follows tells whether the groups of somebody follow the provider.
func (s *Site) follows(user string) (follows, known bool) {
	record, known := s.Identity.Users().Get(user)
	return len(record.Refresh) > 0, known
}

var (
	errForbidden = errors.New("only an admin may do this")
	errForm      = errors.New("the form is not right")
)

// change does what a form asks for. It reports done when the page has nothing to show
// that it would not show anyway.
func (s *Site) change(r *http.Request, who policies.Identity, p *page) (done bool, err error) {
	if err := r.ParseForm(); err != nil {
		return false, fmt.Errorf("%w: %w", errForm, err)
	}
	form := r.PostForm
	switch form.Get("do") {
	case "make":
		return false, s.makeKey(r, who, form, p)
	case "revoke":
		_, err := s.revoke(r, asked{Identity: who}, form.Get("id"))
		return true, err
	case "disable", "enable":
		if !s.Admin(who) {
			return false, errForbidden
		}
		disabled := form.Get("do") == "disable"
		if _, err := s.Identity.Users().SetDisabled(r.Context(), form.Get("user"), disabled); err != nil {
			return false, err
		}
		if disabled {
			s.EndAll(r.Context(), form.Get("user"))
		}
		s.Audit(r.Context(), "user_"+form.Get("do")+"d", who, "account", form.Get("user"))
		return true, nil
	}
	return false, errForm
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

// create makes a key: of who asks, or of a service account if an admin asks.
func (s *Site) create(r *http.Request, who policies.Identity, want identity.NewKey) (string, identity.Key, error) {
	want.By = who.User
	switch {
	case !want.Service:
		want.User, want.Local = who.User, identity.IsLocal(who)
	case !s.Admin(who):
		return "", identity.Key{}, errForbidden
	}
	secret, key, err := s.Identity.Keys().Create(r.Context(), want)
	if err == nil {
		s.Audit(r.Context(), "key_made", who, "key", key.ID, "user", key.User, "expires", key.Expires)
	}
	return secret, key, err
}

// revoke ends a key. Errors: identity.ErrKeyUnknown, also for one of somebody else.
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

// actions are what a key can be narrowed to.
func actions() []string {
	var names []string
	for _, action := range []policies.Action{policies.Read, policies.Fetch, policies.Create, policies.Update, policies.Delete} {
		names = append(names, action.String())
	}
	return slices.Clip(names)
}
