package caddymodule

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// asked is a request and what it presents, not verified.
type asked struct {
	conn       identity.Connection
	credential identity.Credential
	broken     error // what kept the credential from being read
	refused    bool  // the credential, and not what it is good for
}

// readAsked looks at a request's connection and credential.
func readAsked(r *http.Request, place identity.Place) asked {
	var a asked
	a.conn = connectionOf(r)
	a.credential, a.broken = identity.ReadCredential(r, place)
	a.credential.Host = a.conn.Audience()
	a.credential.Address = clientAddress(r)
	return a
}

// connectionOf believes the forwarding fields of those whom Caddy is told to trust.
func connectionOf(r *http.Request) identity.Connection {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return identity.ConnectionOf(r, trusted)
}

// clientAddress is the client as Caddy knows it behind trusted proxies.
func clientAddress(r *http.Request) string {
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return address
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// gate is what this site takes from callers. The storage must be acquired.
func (h *Handler) gate() *identity.Gate {
	callers := h.app.storage.Callers()
	gate := &identity.Gate{
		Chain:    &identity.Chain{Store: callers.Identity, Tokens: callers.Tokens, Others: h.app.authenticators, Locals: h.app.knownLocals()},
		ReadOnly: h.ReadOnly,
		Insecure: h.InsecureCredentials,
		URL:      strings.TrimSuffix(h.app.URL, "/"),
	}
	if h.Fallback != "" {
		gate.FallbackOnly = h.fallbackOnly
	}
	return gate
}

// fallbackOnly tells whether nobody but this site's fallback claims a name that a
// client wrote.
func (h *Handler) fallbackOnly(name string) bool {
	return h.Fallback != "" && name != "" && h.site.Named(name) == "" && !h.site.Claims(name)
}

// identify finds out who asks below /v2/, and refuses what the site does not do for anybody.
// It notes in a that the credential was refused.
func (h *Handler) identify(r *http.Request, a *asked, request wire.Request) (identity.Proven, error) {
	gate := h.gate()
	var pulls []string
	if request.Name != "" && !request.Kind.Writes() {
		pulls = []string{request.Name}
	}
	who, err := h.admit(r.Context(), gate, *a, pulls)
	if err != nil {
		var fields []any
		if request.Kind.Writes() {
			fields = []any{"action", request.Kind.String(), "repository", request.Repo}
		}
		h.tellRefused(who, *a, "/v2/", err, fields...)
		a.refused = true
		return who, err
	}
	addIdentity(r, who)
	h.tellLogin(who, *a, "/v2/", false)
	switch {
	case request.Kind == wire.Ping && who.Anonymous() && !a.credential.Presented() && !a.credential.Explicit:
		// Docker's family takes the challenge from here or never: after a 200 a push
		// would carry no credentials, and any password would log in.
		return who, core.ErrUnauthorized
	case h.ReadOnly && request.Kind.Writes():
		return who, gate.Denied()
	}
	return who, nil
}

// admit finds out who asks. When it is by the key of a person whose groups are older
// than they may be, the provider is asked first.
func (h *Handler) admit(ctx context.Context, gate *identity.Gate, a asked, pulls []string) (identity.Proven, error) {
	who, err := gate.Admit(ctx, a.credential, a.broken, a.conn, pulls)
	if err == nil && who.Key.ID != "" && h.app.follow(ctx, who.User) {
		return gate.Admit(ctx, a.credential, a.broken, a.conn, pulls)
	}
	return who, err
}

// challenge is the WWW-Authenticate field that leads to this site's token endpoint.
func (a asked) challenge(request wire.Request) string {
	field := fmt.Sprintf(`Bearer realm="%s%s",service="%s"`, a.conn.Base(), token.Path, a.credential.Host)
	if scope := scopeOf(request); scope != "" {
		field += fmt.Sprintf(`,scope="%s"`, scope)
	}
	if a.credential.Bearer && a.refused {
		field += `,error="invalid_token"` // containerd gives up on it
	}
	return field
}

// scopeOf is what a client must ask for to make this request, by the name it wrote.
func scopeOf(request wire.Request) string {
	switch {
	case request.Kind == wire.Catalog:
		return "registry:catalog:*"
	case request.Name == "":
		return ""
	case request.Kind == wire.DeleteManifest, request.Kind == wire.DeleteBlob:
		return "repository:" + request.Name + ":delete"
	case request.Kind.Writes():
		return "repository:" + request.Name + ":pull,push"
	}
	return "repository:" + request.Name + ":pull"
}

// addIdentity says in the access log who asked.
func addIdentity(r *http.Request, who identity.Proven) {
	if who.Anonymous() {
		return
	}
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Set("http.auth.user.id", who.User)
	}
	if extra := logFields(r); extra != nil {
		extra.Set(zap.String("identity", who.User))
		extra.Set(zap.String("credential", who.Credential))
	}
}

// serveToken is the token endpoint.
func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request) {
	wire.Protect(w.Header())
	a := readAsked(r, identity.AtToken)
	options := wire.Options{Log: h.log, Challenge: func() string {
		return fmt.Sprintf(`Basic realm="%s"`, a.credential.Host)
	}}
	switch r.Method {
	case http.MethodGet, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, POST")
		wire.LeaveBody(w, r)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if err := h.giveToken(w, r, a); err != nil {
		wire.Fail(w, r, wire.Request{}, err, options)
	}
}

// giveToken answers with a token, or with nothing and an error.
func (h *Handler) giveToken(w http.ResponseWriter, r *http.Request, a asked) error {
	ask, err := token.Read(w, r)
	if err != nil {
		return err
	}
	r.Body = http.NoBody // it was read
	if ask.Form {
		a.credential.Bearer, a.credential.User, a.credential.Secret, a.credential.Issuer = false, "", "", ""
		a.broken = a.credential.SetBasic(ask.User, ask.Password)
	}
	if _, err := h.app.storage.Acquire(r.Context()); err != nil {
		return err
	}
	defer h.app.storage.Release()
	gate := h.gate()
	who, err := h.admit(r.Context(), gate, a, pullsOf(ask.Scopes))
	if a.broken != nil || who.Method != "none" {
		observe.CountLogin(who.Method, err)
	}
	if err != nil {
		h.tellRefused(who, a, token.Path, err)
		return err
	}
	addIdentity(r, who)
	who.Push = slices.ContainsFunc(ask.Scopes, token.Scope.Push)
	raw, claims, err := gate.Issue(a.credential.Host, who)
	if err != nil {
		return err
	}
	h.tellLogin(who, a, token.Path, len(ask.Scopes) == 0)
	return token.Write(w, raw, claims)
}

// pullsOf are the repositories of scopes that pull and do nothing else; none, if one of
// them does something else.
func pullsOf(scopes []token.Scope) []string {
	var names []string
	for _, scope := range scopes {
		if !scope.Pull() {
			return nil
		}
		names = append(names, scope.Name)
	}
	return names
}
