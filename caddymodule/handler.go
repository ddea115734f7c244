package caddymodule

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("oci_registry", parseHandler)
	// Before what answers everything else, such as respond and metrics.
	httpcaddyfile.RegisterDirectiveOrder("oci_registry", httpcaddyfile.Before, "respond")
}

// Handler serves the registry of the app `oci` on a site: /v2 and everything under
// /v2/. Any other request goes to the next handler.
type Handler struct {
	app *App
	log *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oci_registry",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the app. A configuration without one has an app of defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("oci")
	if err != nil {
		return err
	}
	h.app, h.log = app.(*App), withoutContext(ctx.Slogger())
	return nil
}

// ServeHTTP answers with the registry, or passes on what is not for it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Path != "/v2" && !strings.HasPrefix(r.URL.Path, "/v2/") {
		return next.ServeHTTP(w, r)
	}
	who := policies.Identity{} // anonymous: nobody can say yet who they are
	options := wire.Options{Log: h.log, Observe: countRequest}

	request, err := wire.Parse(r.Method, r.URL)
	if err == nil {
		site := h.app.site
		site.Host = r.Host
		request, err = namespace.Resolve(request, site)
	}
	addLogFields(r, request)
	if err != nil {
		wire.Fail(w, r, request, err, options)
		return nil
	}
	trees, err := h.app.shared.acquire(r.Context())
	if err != nil {
		wire.Fail(w, r, request, err, options)
		return nil
	}
	defer h.app.shared.release()

	if request.Kind.Writes() && r.Body != nil {
		r.Body = countedBody{r.Body}
	}
	options.Public = h.app.policy.Allows(policies.Identity{}, policies.Read, request.Repo)
	wire.Serve(w, r, request, policies.Guard(h.app.registry(trees), h.app.policy, who), options)
	return nil
}

// registry is everything that canonical names reach: for now, what is kept here.
func (a *App) registry(t *trees) core.Registry {
	return namespace.New(namespace.Route{Claims: a.site.Claims, Registry: t.private})
}

// addLogFields says in the access log what the request meant.
func addLogFields(r *http.Request, request wire.Request) {
	extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return // not served by Caddy's server, which brings them
	}
	extra.Set(zap.String("action", request.Kind.String()))
	if request.Repo != "" {
		extra.Set(zap.String("repository", request.Repo))
	}
}

// parseHandler reads the directive. See UnmarshalCaddyfile for the syntax.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive, which has no options of its own: what the
// registry is stands in the global option oci. Syntax:
//
//	oci_registry [<matcher>]
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unknown option %q of oci_registry", d.Val())
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
