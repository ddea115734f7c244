package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/eblume/caddy-registry/caddymodule/design"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("oci_registry", parseHandler)
	// Before what answers everything else, such as respond and metrics.
	httpcaddyfile.RegisterDirectiveOrder("oci_registry", httpcaddyfile.Before, "respond")
}

// Handler serves the registry of the app `oci` on a site: /v2, everything under /v2/,
// /token, /livez, /readyz, /healthz, and the pages for signing in and keys where people can. Any
// other request goes to the next handler. Where the site has none for it, the pages about images
// answer, and every other path is 404.
type Handler struct {
	// Upstream is a mirror that this site stands for: its images are at the root of
	// the host. Default: none.
	Upstream string `json:"upstream,omitempty"`

	// Fallback is a mirror that has the names which nobody else claims, for Docker
	// daemons that use the root of this site as their mirror of Docker Hub. The app's
	// private names must be declared: they are never asked upstream. Default: none.
	Fallback string `json:"fallback,omitempty"`

	// ReadOnly refuses every write, and every credential but anonymous tokens: for a
	// plain HTTP listener. Default: false.
	ReadOnly bool `json:"read_only,omitempty"`

	// InsecureCredentials takes credentials over plain HTTP from other machines,
	// where everybody on the way can read them. Default: false.
	InsecureCredentials bool `json:"insecure_credentials,omitempty"`

	// Health is "off" to leave /livez, /readyz and /healthz to the next handler. Default:
	// they are answered here. See package health.
	Health string `json:"health,omitempty"`

	// Pages is "off" to have no pages about images: /images, the start page, and those that a
	// browser gets for an image's name. Signing in and keys have pages all the same. Default:
	// they are answered where the site has no other handler. See package pages.
	Pages string `json:"pages,omitempty"`

	app  *App
	log  *slog.Logger
	site namespace.Site
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oci_registry",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the app. Errors: a configuration without one, which would be a registry
// that keeps nothing and has its storage wherever it was started.
func (h *Handler) Provision(ctx caddy.Context) error {
	if _, err := ctx.AppIfConfigured("oci"); errors.Is(err, caddy.ErrNotConfigured) {
		return errNoBlock
	}
	app, err := ctx.App("oci")
	if err != nil {
		return err
	}
	h.app, h.log = app.(*App), observe.WithoutContext(ctx.Slogger())
	if err := h.checkHealth(); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if err := h.checkPages(); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	server := watchConnections(ctx)
	h.app.servedBy(server)
	if server != nil {
		keepPlain(server)
	}
	h.site = h.app.site
	h.site.Upstream, h.site.Fallback = h.Upstream, h.Fallback
	return h.checkSite()
}

// errNoBlock is a site of a registry that is nowhere described.
var errNoBlock = errors.New("oci_registry: there is no block oci; write `oci { … }` among the global options, with the storage and a policy (an empty one keeps images in ./data, and lets everybody read and nobody push)")

// checkSite refuses what would send a name to the wrong place.
func (h *Handler) checkSite() error {
	for option, name := range map[string]string{"upstream": h.Upstream, "fallback": h.Fallback} {
		if name != "" && h.app.Mirrors[name] == nil {
			return fmt.Errorf("%s %s: there is no such mirror; write `mirror %s` into the block oci", option, name, name)
		}
	}
	if h.Upstream != "" && h.Fallback != "" {
		return errors.New("upstream and fallback: a site stands for one upstream, or has names of its own; use one of them")
	}
	if h.Fallback != "" && len(h.app.Private) == 0 {
		return fmt.Errorf("fallback %s: declare the `private` names in the block oci, or a private name would be asked upstream", h.Fallback)
	}
	return nil
}

// ServeHTTP answers with the registry, or passes on what is not for it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Path != "/v2" && !strings.HasPrefix(r.URL.Path, "/v2/") {
		return h.serveBeside(w, r, next)
	}
	if r.URL.Path == "/v2/" && !caddy.Exiting() { // another process may take over
		instance.Answer(w, r)
	}
	c := &call{Handler: h, w: w, r: r, begun: time.Now()}
	union, err := c.admit(c.understand())
	if err != nil {
		wire.Fail(w, r, c.Request, err, c.options)
		return nil
	}
	defer h.app.storage.Release()
	c.r = observe.Traced(r) // after the storage is open, which outlives the request
	registry := c.wrap(union)
	if c.Kind == wire.Blob {
		defer sendPieces(c.r.Context())()
	}
	wire.Serve(w, c.r, c.Request, registry, c.options)
	return nil
}

// serveBeside answers what is not below /v2/: tokens, health and pages. The next handler is
// asked about the rest, and about /, first.
func (h *Handler) serveBeside(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	switch {
	case r.URL.Path == token.Path:
		h.serveToken(w, r)
	case h.serveHealth(w, r), (h.Pages != "off" || h.signsIn()) && design.ServeAsset(w, r), r.URL.Path != "/" && h.servePages(w, r):
	case nearlyRegistry(r.URL.Path):
		wire.Fail(w, r, wire.Request{}, errNearly, wire.Options{Log: h.log})
	default:
		return h.serveNext(w, r, next)
	}
	return nil
}

// errNearly is the answer to a client that takes another address for a registry's.
var errNearly = fmt.Errorf("%w: the registry is at /v2/; there is no version 1", core.ErrNameUnknown)

// nearlyRegistry reports whether a path is what a client asks that means a registry, by an
// address with a slash too many or in the protocol that nobody speaks any more: an empty
// 200 would tell it that all is well.
func nearlyRegistry(path string) bool {
	if path == "/v1/_ping" {
		return true
	}
	rest := strings.TrimLeft(path, "/")
	return strings.HasPrefix(path, "//") && (rest == "v2" || strings.HasPrefix(rest, "v2/"))
}

// logFields returns the fields that the access log adds for a request. It is nil if the
// server of the request writes no access log: each field takes several allocations.
func logFields(r *http.Request) *caddyhttp.ExtraLogFields {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && server.Logs == nil {
		return nil
	}
	extra, _ := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	return extra
}

// addLogFields adds to the access log what the request is about.
func addLogFields(r *http.Request, request wire.Request, mirror string) {
	extra := logFields(r)
	if extra == nil {
		return
	}
	extra.Set(zap.String("action", request.Kind.String()))
	if request.Repo != "" {
		extra.Set(zap.String("repository", request.Repo))
	}
	if mirror != "" {
		extra.Set(zap.String("mirror", mirror))
	}
}

// addSource adds to the access log where the content of an answer came from.
func addSource(r *http.Request, source core.Source) {
	if extra := logFields(r); extra != nil && source != observe.SourceNone {
		extra.Set(zap.String("source", string(source)))
	}
}

// parseHandler reads the directive. See UnmarshalCaddyfile for the syntax.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive. What the registry is stands in the global
// option oci; here is what a site makes of it. Syntax:
//
//	oci_registry [<matcher>] {
//	    upstream <mirror>
//	    fallback <mirror>
//	    read_only
//	    insecure_credentials
//	    health off
//	    pages off
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	return option.Block(d, "oci_registry", option.Options{
		"upstream":             option.Once(&h.Upstream),
		"fallback":             option.Once(&h.Fallback),
		"read_only":            option.Flag(&h.ReadOnly),
		"insecure_credentials": option.Flag(&h.InsecureCredentials),
		"health":               option.Once(&h.Health).Check(h.checkHealth),
		"pages":                option.Once(&h.Pages).Check(h.checkPages),
	})
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
