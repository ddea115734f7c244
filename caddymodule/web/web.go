package web

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/design"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/policies"
)

const (
	sessionCookie = "registry_session"
	pendingCookie = "registry_login"
	// maxForm bounds the body of a form, in bytes.
	maxForm = 64 << 10
	// BackChannel is the path at which a provider announces a sign-out.
	BackChannel = "/oidc/backchannel-logout"
)

// Site serves the pages of one configuration, over the records of a storage.
type Site struct {
	Identity *identity.Store
	Sessions *session.Store
	// Provider, Login and Follower are nil if there is no provider.
	Provider *oidclogin.Provider
	Login    *oidclogin.Login
	Follower *oidclogin.Follower
	// Locals are the users with a password. nil: there are none, and no form.
	Locals *identity.Locals
	// Password verifies the user and password of the form, and Wrong returns the status and the
	// text for its error.
	Password func(r *http.Request, user, password string) (policies.Identity, error)
	Wrong    func(error) (status int, problem string)
	// Key identifies the caller that presents a credential to the API. If it returns false, it
	// has sent the answer.
	Key func(w http.ResponseWriter, r *http.Request) (policies.Identity, bool)
	// Label is the provider's name for people.
	Label string
	// Callback is the path of the callback.
	Callback string
	// URL is the registry's own address, without a slash at its end: sign-ins end
	// there.
	URL string
	// Lifetime is how long a session lasts.
	Lifetime time.Duration
	// Admins may make keys for service accounts and disable users.
	Admins *admins.Roster
	// Connection reports how a request arrived. One that is private and not HTTPS is
	// plain loopback.
	Connection func(*http.Request) identity.Connection
	// Insecure serves the pages also where others could read them.
	Insecure bool
	// Images: the site has pages for images, too, among them its start.
	Images bool
	// Mirrors reports whether the pages about mirrors have something for a visitor. nil: never.
	Mirrors func(policies.Identity) bool
	// Audit records an action and its user. It gets no secret.
	Audit func(ctx context.Context, event string, who policies.Identity, attributes ...any)
	// Refused records a failed sign-in with the provider, and the user that the
	// provider named, if any.
	Refused func(r *http.Request, user string, err error)
	Log     *slog.Logger
}

var crossOrigin = http.NewCrossOriginProtection()

// Serves reports whether a path is one of the pages; callback is that of the
// callback.
func Serves(path, callback string) bool {
	return slices.Contains([]string{"/", "/login", "/logout", "/user", adminKeysPath, adminUsersPath, BackChannel, callback}, path) ||
		strings.HasPrefix(path, "/user/") || isAPI(path)
}

// ServeHTTP answers for a path that Serves names.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	design.Protect(w.Header(), true) // a form, or an answer to one
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if isAPI(r.URL.Path) {
		s.api(w, r)
		return
	}
	methods := []string{http.MethodGet, http.MethodHead}
	switch r.URL.Path {
	case BackChannel:
		methods = []string{http.MethodPost}
	case "/logout", keysPath:
		methods = append(methods, http.MethodPost)
	case "/login":
		if s.Locals != nil {
			methods = append(methods, http.MethodPost)
		}
	}
	if !slices.Contains(methods, r.Method) {
		for _, method := range methods {
			w.Header().Add("Allow", method)
		}
		s.fail(w, r, http.StatusMethodNotAllowed, "This page is not for that", "The address is right, but not what was to be done with it.")
		return
	}
	conn := s.Connection(r)
	if !conn.Private() && !s.Insecure {
		p := page{Title: "Not over a plain connection"}
		if s.URL != "" {
			p.Address = s.URL + "/"
		}
		s.render(w, r, http.StatusForbidden, "insecure", p)
		return
	}
	if r.URL.Path == BackChannel {
		s.backChannel(w, r)
		return
	}
	if err := crossOrigin.Check(r); err != nil {
		s.fail(w, r, http.StatusForbidden, "This form came from elsewhere", "Another site made your browser send it. Nothing was changed.")
		return
	}
	https := conn.HTTPS
	switch r.URL.Path {
	case "/":
		s.home(w, r, https)
	case "/login":
		s.login(w, r, conn)
	case "/logout":
		s.logout(w, r, https)
	case "/user", "/user/":
		http.Redirect(w, r, keysPath, http.StatusFound)
	case keysPath:
		s.keys(w, r, https)
	case newPath:
		s.newKey(w, r, https)
	case madePath:
		s.showMade(w, r, conn)
	case revokePath, disablePath:
		s.confirm(w, r, https)
	case adminKeysPath, adminUsersPath:
		s.admin(w, r, https)
	case s.Callback:
		s.callback(w, r, https)
	default:
		s.fail(w, r, http.StatusNotFound, "There is no such page", "The address may be misspelt.")
	}
}

// SignedIn returns the user that is signed in with the browser of a request, with the present
// groups: for what is not a page and takes the cookie, too. A cookie that others could read counts
// as none.
func (s *Site) SignedIn(r *http.Request) (policies.Identity, bool) {
	conn := s.Connection(r)
	if !conn.Private() && !s.Insecure {
		return policies.Identity{}, false
	}
	return s.who(r, conn.HTTPS)
}

// who returns the user that is signed in with the browser, with the present groups.
func (s *Site) who(r *http.Request, https bool) (policies.Identity, bool) {
	id := session.Cookie(r, sessionCookie, https)
	current, ok := s.Sessions.Get(id)
	switch {
	case !ok:
		return policies.Identity{}, false
	case current.Issuer == "":
		return s.local(r, current, id)
	case s.Follower == nil: // the provider is no longer in the configuration
		return policies.Identity{}, false
	}
	s.Follower.Touch(r.Context(), current.User)
	// The provider may have refused this person meanwhile.
	if _, ok := s.Sessions.Get(id); !ok {
		return policies.Identity{}, false
	}
	user, known := s.Identity.Users().Get(current.User)
	if !known || user.Disabled || user.Issuer != current.Issuer || user.Subject != current.Subject {
		return policies.Identity{}, false
	}
	return policies.Identity{User: user.Name, Groups: user.Groups, Credential: "session"}, true
}
