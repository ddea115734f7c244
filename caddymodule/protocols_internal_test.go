package caddymodule

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

func TestKeepPlain(t *testing.T) {
	withTLS := caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	usual := []string{"h1", "h2", "h3"}
	for _, row := range []struct {
		name   string
		server *caddyhttp.Server
		want   []string
	}{
		{"the default without TLS", &caddyhttp.Server{Protocols: usual}, []string{"h1", "h2c"}},
		{"what the operator has chosen", &caddyhttp.Server{Protocols: []string{"h1", "h2"}}, []string{"h1", "h2"}},
		{"a server with TLS", &caddyhttp.Server{Protocols: usual, TLSConnPolicies: withTLS}, usual},
		{"a choice for each address", &caddyhttp.Server{Protocols: usual, ListenProtocols: [][]string{{"h2"}}}, usual},
	} {
		if keepPlain(row.server); !slices.Equal(row.server.Protocols, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, row.server.Protocols, row.want)
		}
	}
}
