package caddymodule

import (
	"net/http"
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

// Clients that speak HTTP/2 without TLS can do so as with Caddy's default.
func TestAPlainSiteSpeaksBothVersions(t *testing.T) {
	port := freePort(t)
	load(t, site(port, t.TempDir(), allowAll, ""))
	for _, major := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(major == 1)
		protocols.SetUnencryptedHTTP2(major == 2)
		transport := &http.Transport{Protocols: protocols, DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Get(at(t, port).base + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		transport.CloseIdleConnections()
		if response.ProtoMajor != major || response.StatusCode != http.StatusOK {
			t.Errorf("got %s %s, want HTTP/%d", response.Proto, response.Status, major)
		}
	}
}
