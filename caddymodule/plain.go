package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/plainhttp"
)

// warnOfPlain logs that credentials came over plain HTTP and were not looked at, once for
// each address. The storage must be acquired.
func (h *Handler) warnOfPlain(a asked) {
	if h.app.storage.Callers().Plain.News(a.credential.Address) {
		h.log.Warn("credentials were sent over plain HTTP and not taken: the client reports a wrong password",
			"address", a.credential.Address, "host", a.conn.Host, "remedy", identity.PlainRemedy(h.app.OwnURL()))
	}
}

// warnOfPlainSites logs which sites take no credentials, although nothing says that this
// is meant.
func (a *App) warnOfPlainSites() {
	found, err := a.life.AppIfConfigured("http")
	if err != nil {
		return // nothing is served
	}
	server, ok := found.(*caddyhttp.App)
	if !ok {
		return
	}
	for _, site := range plainhttp.Sites(server, func(handler caddyhttp.MiddlewareHandler) bool {
		h, ok := handler.(*Handler)
		return ok && !h.ReadOnly && !h.InsecureCredentials
	}) {
		a.log.Warn("site takes no credentials over plain HTTP: nobody can log in or push there from another machine",
			"listen", strings.Join(site.Listen, " "), "hosts", strings.Join(site.Hosts, " "),
			"remedy", identity.PlainRemedy(a.OwnURL())+"; read_only there says that it is meant")
	}
}
