package web

import (
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// password signs in with a password of the configuration. The answer to a wrong one is
// the same whether or not there is such a user.
func (s *Site) password(w http.ResponseWriter, r *http.Request, https bool) {
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, "The form is not right", "Please go back and send it again.")
		return
	}
	returnTo := oidclogin.ReturnPath(r.PostForm.Get("return"))
	name := r.PostForm.Get("username")
	who, err := s.Password(r, name, r.PostForm.Get("password"))
	if err != nil {
		status, problem := s.Wrong(err)
		if at := core.Retry(err); !at.IsZero() {
			w.Header().Set("Retry-After", retryAfter(at))
		}
		current, _ := s.who(r, https)
		p := s.loginPage(current, returnTo, false)
		p.Name, p.Problem = name, problem
		s.Log.Info("sign-in failed", "status", status, "error", err)
		s.render(w, r, status, "login", p)
		return
	}
	// The credential of a session names the line that the password was compared with.
	if !s.begin(w, r, session.Session{User: who.User, Subject: who.Credential}, https) {
		return
	}
	s.Audit(r.Context(), "login", who, "method", "local_user")
	http.Redirect(w, r, returnTo, http.StatusSeeOther)
}

// local returns the user of a session that began with a password, as configured now. If the line
// is gone, or has another hash, the session is over.
func (s *Site) local(r *http.Request, current session.Session, id string) (policies.Identity, bool) {
	who, ok := s.Locals.Recall(current.User, current.Subject)
	if !ok {
		if err := s.Sessions.End(r.Context(), id); err != nil {
			s.Log.Error("session was not ended on the disk", "user", current.User, "error", err)
		}
		return policies.Identity{}, false
	}
	if user, _ := s.Identity.Users().Get(who.User); user.Disabled {
		return policies.Identity{}, false
	}
	return who, true
}
