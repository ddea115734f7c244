package caddymodule

import (
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/plainhttp"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/memo"
)

const (
	// plainAgain is how long an address that sent credentials over plain HTTP is not
	// warned of again.
	plainAgain = 24 * time.Hour
	// maxPlain bounds the addresses that are warned of in that time, and so the lines.
	maxPlain = 1000
)

// plainSenders are the addresses that have sent credentials over plain HTTP, where none
// are taken. Clients then say that the password is wrong, and hide the reason.
type plainSenders struct{ seen *memo.Memo[string, struct{}] }

func newPlainSenders(now func() time.Time) plainSenders {
	return plainSenders{memo.New[string, struct{}](maxPlain, plainAgain, now)}
}

// news reports whether an address, an IPv6 /64, has to be warned of.
func (p plainSenders) news(address string) bool {
	p.seen.Expire(nil)
	if p.seen.Len() >= maxPlain {
		return false // none makes room: a flood would be warned of without end
	}
	return p.seen.Add(core.Access{Address: address}.Principal(), struct{}{})
}

// warnOfPlain logs that credentials came over plain HTTP and were not looked at, once for
// each address. The storage must be acquired.
func (h *Handler) warnOfPlain(a asked) {
	if h.app.shared.callers.plain.news(a.credential.Address) {
		h.log.Warn("credentials were sent over plain HTTP and not taken: the client reports a wrong password",
			"address", a.credential.Address, "host", a.conn.Host, "remedy", identity.PlainRemedy(h.app.ownURL()))
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
			"remedy", identity.PlainRemedy(a.ownURL())+"; read_only there says that it is meant")
	}
}
