package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// keepPlain spares the operator two warnings about a server without TLS whose protocols the
// configuration does not choose: Caddy gives it HTTP/2 and HTTP/3, skips both because they
// need TLS, and warns. What the server speaks stays the same. Caddy's default lets clients
// speak HTTP/2 without TLS, too, and h2c is the protocol that says only this.
//
// It must be called while the server's handlers are provisioned. By then Caddy has decided
// which servers get certificates.
func keepPlain(server *caddyhttp.Server) {
	byDefault := slices.Equal(server.Protocols, []string{"h1", "h2", "h3"})
	if byDefault && len(server.TLSConnPolicies) == 0 && server.ListenProtocols == nil {
		server.Protocols = []string{"h1", "h2c"}
	}
}
