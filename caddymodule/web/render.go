package web

import (
	"bytes"
	"embed"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/design"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

//go:embed assets
var assets embed.FS

var pages = design.Templates(assets, "assets/*.html", template.FuncMap{
	"actions": actions,
	"day": func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.UTC().Format(time.DateOnly)
	},
	"state": stateOf,
	"when":  func(t time.Time) template.HTML { return design.When(time.Now(), t) },
})

// stateOf returns the state of a key.
func stateOf(k identity.Key) string {
	now := time.Now()
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Active(now):
		return "expired"
	case k.Expiring(now):
		return "expires soon"
	}
	return "active"
}

// page is the data of the templates.
type page struct {
	Frame   design.Frame
	Title   string
	Who     policies.Identity
	Label   string // of the provider
	Host    string // of the registry, for the lines to copy
	Address string // a link of this page's own
	Text    string
	Problem string // with what was sent
	Form    bool   // for a name and a password
	Name    string // that was sent with it
	Return  string // where a sign-in leads
	Other   bool   // the provider will be asked to let another user sign in

	Admin    bool
	Provider bool // people sign in with a provider
	Follows  bool // the groups follow it
	Local    bool // signed in with a password of the configuration
	Wide     bool // a list
	Others   bool // it has the keys of all users
	Keys     []keyRow
	Users    []userRow
	Part     part // of the list
	Asked    keyForm
	Secret   string // of New; shown once
	New      keyRow
	Clients  []client // with lines for it

	Key  identity.Key // to be revoked
	User userShown    // to be disabled
}

func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.Label = s.Label
	p.Frame = design.Frame{Title: p.Title, Host: r.Host, User: p.Who.User, Images: s.Images, Narrow: !p.Wide}
	if s.Images {
		p.Frame.Activity, p.Frame.Storage = true, s.Admins != nil && s.Admins.Includes(p.Who)
		p.Frame.Mirrors = s.Mirrors != nil && s.Mirrors(p.Who)
	}
	if strings.HasPrefix(r.URL.Path, keysPath) || r.URL.Path == adminKeysPath || r.URL.Path == adminUsersPath {
		p.Frame.Here = "keys"
	}
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, name+".html", p); err != nil {
		s.Log.Error("page was not written", "page", name, "error", err)
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(out.Bytes()) // an error is the browser's having left
	}
}

func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	s.render(w, r, status, "error", page{Title: title, Text: text})
}

func (s *Site) broken(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.Error("page failed", "path", r.URL.Path, "error", err)
	s.fail(w, r, http.StatusInternalServerError, "The registry could not do it", "Its log says why.")
}

// retryAfter is a Retry-After field.
func retryAfter(at time.Time) string {
	return strconv.Itoa(max(1, int(math.Ceil(time.Until(at).Seconds()))))
}
