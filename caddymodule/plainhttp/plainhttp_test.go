package plainhttp

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

type wanted struct{}

func (wanted) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }

func TestSites(t *testing.T) {
	host := func(names ...string) caddyhttp.MatcherSets {
		match := caddyhttp.MatchHost(names)
		return caddyhttp.MatcherSets{{&match}}
	}
	is := func(h caddyhttp.MiddlewareHandler) bool { _, ok := h.(wanted); return ok }
	tls := caddytls.ConnectionPolicies{{}}
	within := caddyhttp.RouteList{{MatcherSets: host("a.example"), Handlers: []caddyhttp.MiddlewareHandler{
		&caddyhttp.Subroute{Routes: caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{wanted{}}}}},
	}}}
	direct := caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{wanted{}}}}
	for _, row := range []struct {
		name   string
		server *caddyhttp.Server
		want   string
	}{
		{"any address", &caddyhttp.Server{Listen: []string{":5050"}, Routes: direct}, ":5050 for "},
		{"an address", &caddyhttp.Server{Listen: []string{"192.0.2.1:5050"}, Routes: within}, "192.0.2.1:5050 for a.example"},
		{"loopback", &caddyhttp.Server{Listen: []string{"127.0.0.1:5050", "[::1]:5050", "localhost:5050"}, Routes: direct}, ""},
		{"loopback and not", &caddyhttp.Server{Listen: []string{"127.0.0.1:5050", "192.0.2.1:5050"}, Routes: direct}, "192.0.2.1:5050 for "},
		{"a socket", &caddyhttp.Server{Listen: []string{"unix//run/s"}, Routes: direct}, "unix//run/s for "},
		{"TLS", &caddyhttp.Server{Listen: []string{":443"}, Routes: direct, TLSConnPolicies: tls}, ""},
		{"TLS, and the port of plain HTTP", &caddyhttp.Server{Listen: []string{":443", ":80"}, Routes: direct, TLSConnPolicies: tls}, ":80 for "},
		{"behind a proxy", &caddyhttp.Server{Listen: []string{":5050"}, Routes: direct, TrustedProxiesRaw: json.RawMessage(`{}`)}, ""},
		{"something else", &caddyhttp.Server{Listen: []string{":5050"}, Routes: caddyhttp.RouteList{{}}}, ""},
		{"a named route", &caddyhttp.Server{Listen: []string{":5050"}, NamedRoutes: map[string]*caddyhttp.Route{"x": &within[0]}}, ":5050 for a.example"},
	} {
		var got []string
		for _, site := range Sites(&caddyhttp.App{Servers: map[string]*caddyhttp.Server{"s": row.server}}, is) {
			got = append(got, strings.Join(site.Listen, " ")+" for "+strings.Join(site.Hosts, " "))
		}
		var want []string
		if row.want != "" {
			want = []string{row.want}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", row.name, got, want)
		}
	}
}
