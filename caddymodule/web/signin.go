package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/policies"
)

func (s *Site) home(w http.ResponseWriter, r *http.Request, https bool) {
	who, _ := s.who(r, https)
	s.render(w, r, http.StatusOK, "home", page{Title: "Registry", Who: who, Host: r.Host})
}

// login shows the sign-in page, and begins a sign-in on request: by a link, because the pages'
// own policy would stop a form that ends at another site.
func (s *Site) login(w http.ResponseWriter, r *http.Request, conn identity.Connection) {
	https := conn.HTTPS
	query := r.URL.Query()
	returnTo := oidclogin.ReturnPath(query.Get("return"))
	if r.Method == http.MethodPost {
		s.password(w, r, https)
		return
	}
	if query.Get("start") == "" || s.Login == nil {
		who, _ := s.who(r, https)
		s.render(w, r, http.StatusOK, "login", s.loginPage(who, returnTo, query.Get("other") != ""))
		return
	}
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusOK) // a HEAD does not begin a sign-in
		return
	}
	if conn.Base() != s.URL && query.Get("moved") == "" {
		// The provider sends the browser back to URL, and the cookie must be there.
		// Behind a proxy that hides the host, this is URL already: once is enough.
		query.Set("moved", "1")
		http.Redirect(w, r, s.URL+"/login?"+query.Encode(), http.StatusSeeOther)
		return
	}
	address, cookie, err := s.Login.Begin(r.Context(), returnTo, query.Get("other") != "")
	if err != nil {
		s.signInFailed(w, r, "", err)
		return
	}
	session.SetCookie(w, pendingCookie, cookie, oidclogin.PendingLifetime, https)
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// loginPage has the ways in.
func (s *Site) loginPage(who policies.Identity, returnTo string, other bool) page {
	p := page{Title: "Sign in", Who: who, Return: returnTo, Form: s.Locals != nil}
	if s.Login != nil {
		start := url.Values{"start": {"1"}, "return": {returnTo}}
		if other {
			start.Set("other", "1")
			p.Other = true
		}
		p.Address = "/login?" + start.Encode()
	}
	return p
}

// callback ends a sign-in: the provider has sent the browser back.
func (s *Site) callback(w http.ResponseWriter, r *http.Request, https bool) {
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusOK)
		return
	}
	session.ClearCookie(w, pendingCookie, https)
	account, returnTo, err := s.Login.Finish(r.Context(), r.URL.Query(), session.Cookie(r, pendingCookie, https))
	if err != nil {
		s.signInFailed(w, r, account.User, err)
		return
	}
	user, err := s.Identity.Users().SignedIn(r.Context(), identity.User{
		Name: account.User, Issuer: account.Issuer, Subject: account.Subject,
		Groups: account.Groups, Refresh: s.Follower.Sealed(account.User, account.Refresh),
	})
	if err == nil && user.Disabled {
		err = &identity.UserRefused{User: user.Name}
	}
	if err != nil {
		s.signInFailed(w, r, account.User, err)
		return
	}
	if !s.begin(w, r, session.Session{
		User: user.Name, Issuer: account.Issuer, Subject: account.Subject, SID: account.SID,
	}, https) {
		return
	}
	s.Audit(r.Context(), "login", policies.Identity{User: user.Name, Groups: user.Groups, Credential: "session"}, "method", "oidc", "follows_provider", account.Refresh != "")
	http.Redirect(w, r, returnTo, http.StatusSeeOther)
}

// begin ends the session that this browser had, and begins another. If it returns false, it has
// sent the answer.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, next session.Session, https bool) bool {
	err := s.Sessions.End(r.Context(), session.Cookie(r, sessionCookie, https))
	var id string
	if err == nil {
		id, err = s.Sessions.Create(r.Context(), next, s.Lifetime)
	}
	if err != nil {
		s.broken(w, r, err)
		return false
	}
	session.SetCookie(w, sessionCookie, id, s.Lifetime, https)
	return true
}

// signInFailed explains the failure in our own words: an answer of the provider, or of
// an impostor, is only for the log.
func (s *Site) signInFailed(w http.ResponseWriter, r *http.Request, user string, err error) {
	status, title, text := http.StatusBadGateway, "The sign-in did not work", "The sign-in provider's answer could not be used. The registry's log says why."
	switch {
	case errors.Is(err, oidclogin.ErrUnavailable):
		status, title, text = http.StatusServiceUnavailable, "The sign-in provider does not answer", "Pulls and pushes with an API key work as always. Try again in a moment."
		w.Header().Set("Retry-After", "10")
	case errors.Is(err, oidclogin.ErrStale):
		status, title, text = http.StatusBadRequest, "This sign-in is over", "It took too long, was finished already, or was begun in another browser. Please begin again."
	case errors.Is(err, oidclogin.ErrRefused):
		status, title, text = http.StatusForbidden, "The sign-in provider said no", "It was cancelled there, or you may not use this registry."
	case errors.Is(err, oidclogin.ErrNotAllowed):
		status, title, text = http.StatusForbidden, "You may not sign in here", "You are in none of the groups that may. Ask the people who run this registry."
	case errors.As(err, new(*identity.UserRefused)):
		status, title, text = http.StatusForbidden, "This user is disabled", "Ask the people who run this registry."
	case errors.Is(err, identity.ErrNameTaken):
		status, title, text = http.StatusConflict, "The name is taken", "Another person has signed in with your name before. Ask the people who run this registry."
	case errors.Is(err, identity.ErrUserInvalid):
		status, title, text = http.StatusForbidden, "Your name cannot be used here", "It is too long, or has a colon or a control character in it."
	}
	s.Refused(r, user, err)
	s.Log.Warn("sign-in failed", "status", status, "error", err)
	s.fail(w, r, status, title, text)
}

// logout asks for a confirmation, and ends the session. The browser may still have a session at
// the provider: the page says so, and links to it.
func (s *Site) logout(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	if r.Method != http.MethodPost {
		s.render(w, r, http.StatusOK, "logout", page{Title: "Sign out", Who: who})
		return
	}
	if err := s.Sessions.End(r.Context(), session.Cookie(r, sessionCookie, https)); err != nil {
		s.broken(w, r, err)
		return
	}
	session.ClearCookie(w, sessionCookie, https)
	if in {
		s.Audit(r.Context(), "logout", who)
	}
	p := page{Title: "Signed out"}
	if s.Provider != nil && !identity.IsLocal(who) {
		p.Address = s.Provider.EndSession()
	}
	s.render(w, r, http.StatusOK, "signedout", p)
}

// backChannel ends the sessions that the provider has ended (Back-Channel Logout 2.5 to 2.8).
func (s *Site) backChannel(w http.ResponseWriter, r *http.Request) {
	out, err := s.Login.LogoutToken(r.Context(), r.PostFormValue("logout_token"))
	if err == nil {
		var ended int
		ended, err = s.Sessions.EndAll(r.Context(), func(one session.Session) bool {
			return out.Ends(one.Issuer, one.Subject, one.SID)
		})
		s.Audit(r.Context(), "logout", policies.Identity{}, "by", "provider", "sessions", ended)
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case errors.Is(err, oidclogin.ErrAnswer):
		s.Log.Info("logout token refused", "error", err)
		w.WriteHeader(http.StatusBadRequest)
	default:
		s.Log.Warn("back-channel logout failed", "error", err)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// endAll ends all sessions of a user, for a Follower whose provider refused the user.
func (s *Site) endAll(ctx context.Context, user string) {
	EndAll(ctx, s.Sessions, user, s.Log)
}

// EndAll ends all sessions of a user.
func EndAll(ctx context.Context, sessions *session.Store, user string, log *slog.Logger) {
	if _, err := sessions.EndAll(ctx, func(one session.Session) bool { return one.User == user }); err != nil {
		log.Error("sessions were not ended on the disk", "user", user, "error", err)
	}
}
