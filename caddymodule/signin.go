package caddymodule

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/refusal"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/web"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// providers has an *oidclogin.Provider for each client at each issuer that a
// configuration of this process names: what discovery said outlives a reload.
var providers = caddy.NewUsagePool()

// signInConfig is what a configuration has of its sign-in. The zero value has none.
type signInConfig struct {
	key  string              // in providers
	oidc authenticators.OIDC // complete
	// resolved are the settings with the secret, resolved once: on Start, or on the
	// first request.
	resolved func() (*running.SignInSpec, error)
}

// provisionSignIn checks the block oidc and finds its provider. It asks nobody.
func (a *App) provisionSignIn() error {
	if a.OIDC == nil {
		return nil
	}
	oidc := a.OIDC.Complete()
	if err := oidc.Check(a.URL); err != nil {
		return err
	}
	key := oidc.Issuer + " " + oidc.ClientID
	value, _, err := providers.LoadOrNew(key, func() (caddy.Destructor, error) {
		return oidclogin.New(oidc.Issuer, oidc.ClientID, oidclogin.Config{}), nil
	})
	if err != nil {
		return err
	}
	spec := running.SignInSpec{Key: key, Provider: value.(*oidclogin.Provider), Refresh: time.Duration(oidc.GroupRefresh)}
	spec.Settings = oidclogin.Settings{
		RedirectURL: a.OwnURL() + oidc.RedirectPath, Scopes: oidc.Scopes,
		UsernameClaim: oidc.UsernameClaim, GroupsClaim: oidc.GroupsClaim, AllowedGroups: oidc.AllowedGroups,
	}
	a.signIn = signInConfig{key: key, oidc: oidc, resolved: sync.OnceValues(func() (*running.SignInSpec, error) {
		if oidc.ClientSecret == "" {
			return &spec, nil
		}
		var err error
		spec.Settings.ClientSecret, err = option.Resolve("oidc: client_secret", oidc.ClientSecret)
		return &spec, err
	})}
	return nil
}

// spec is the sign-in with its secret, or nil if there is none.
func (c signInConfig) spec() (*running.SignInSpec, error) {
	if c.resolved == nil {
		return nil, nil
	}
	return c.resolved()
}

func (c signInConfig) release() error {
	if c.key == "" {
		return nil
	}
	_, err := providers.Delete(c.key)
	return err
}

// follow lets the groups of a person follow the provider. It tells whether they may
// have changed. The storage must be acquired.
func (a *App) follow(ctx context.Context, user string) (changed bool) {
	spec, err := a.signIn.spec()
	if spec == nil || err != nil {
		return false
	}
	return a.storage.Callers().SignIn(spec).Follower.Touch(ctx, user)
}

// servePages answers with a page for people, if the request is for one and this site
// has them. It reports whether it did.
func (h *Handler) servePages(w http.ResponseWriter, r *http.Request) bool {
	if !h.signsIn() || h.app.OIDC == nil && r.URL.Path == web.BackChannel ||
		!web.Serves(r.URL.Path, h.app.signIn.oidc.RedirectPath) {
		return false
	}
	spec, err := h.app.signIn.spec()
	if err == nil {
		_, err = h.app.storage.Acquire(r.Context())
	}
	if err != nil {
		h.unusable(w, r, err)
		return true
	}
	defer h.app.storage.Release()
	h.pages(spec).ServeHTTP(w, r)
	return true
}

// pages are those of this site. spec is nil where people sign in by passwords alone.
func (h *Handler) pages(spec *running.SignInSpec) *web.Site {
	callers, oidc := h.app.storage.Callers(), h.app.signIn.oidc
	site := &web.Site{
		Identity: callers.Identity, Sessions: callers.Sessions,
		Label: oidc.Label, Callback: oidc.RedirectPath, URL: h.app.OwnURL(),
		Lifetime:   cmp.Or(time.Duration(oidc.Session), authenticators.DefaultSession),
		Locals:     h.app.knownLocals(),
		Admins:     h.app.admins,
		Key:        h.verifyKey,
		Connection: connectionOf, Insecure: h.InsecureCredentials, Images: h.Pages != "off",
		Mirrors: func(who policies.Identity) bool { return len(h.visibleMirrors(who)) > 0 },
		Audit:   h.auditPage, Refused: h.auditRefused, Log: h.log,
	}
	if spec != nil {
		signIn := callers.SignIn(spec)
		site.Provider, site.Login, site.Follower = signIn.Provider, signIn.Login, signIn.Follower
	}
	if site.Locals != nil {
		site.Password, site.Wrong = h.verifyPassword, wrongPassword
	}
	return site
}

// verifyKey is who presents a credential to the API of the keys.
func (h *Handler) verifyKey(w http.ResponseWriter, r *http.Request) (policies.Identity, bool) {
	a := readAsked(r, identity.AtRegistry)
	who, err := h.admit(r.Context(), h.gate(), a, nil)
	if err != nil {
		h.tellRefused(who, a, "/api/keys", err)
		wire.Fail(w, r, wire.Request{}, err, wire.Options{Log: h.log, Challenge: func() string { return a.challenge(wire.Request{}) }})
		return policies.Identity{}, false
	}
	addIdentity(r, who)
	h.tellLogin(who, a, "/api/keys", false)
	return who.Identity, true
}

// auditRefused records a sign-in with the provider that failed.
func (h *Handler) auditRefused(r *http.Request, user string, err error) {
	if refused, ok := refusal.OfSignIn(user, err); ok {
		h.app.tellRefusal(refused, clientAddress(r), "method", "oidc", "at", r.URL.Path)
		err = core.ErrUnauthorized
	}
	observe.CountLogin("oidc", err)
}

// auditPage records what somebody did with a page. Of keys the records themselves tell,
// wherever they are made and revoked.
func (h *Handler) auditPage(ctx context.Context, event string, who policies.Identity, attributes ...any) {
	if event == "key_made" || event == "key_revoked" {
		return
	}
	address, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	h.app.audit.Tell("registry_"+event, append(observe.By(who, address), attributes...)...)
	if event == "login" && !identity.IsLocal(who) { // a password is counted where it is verified
		observe.CountLogin("oidc", nil)
	}
}
