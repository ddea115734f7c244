// Package plainhttp finds where a running configuration serves a handler in such a way
// that others can read what is sent. Package sites reads a configuration that does not run.
//
//	for _, site := range plainhttp.Sites(app, func(h caddyhttp.MiddlewareHandler) bool { … }) {
//		log.Warn("site is plain HTTP", "listen", site.Listen)
//	}
package plainhttp

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxDepth bounds how deep routes are nested that are looked at. Those of a Caddyfile are
// a handful of levels.
const maxDepth = 32

// Site is a place where a handler is served.
type Site struct {
	// Listen are the addresses of the server, as the configuration has them.
	Listen []string
	// Hosts are those that the routes to the handler name. None: any.
	Hosts []string
}

// Sites returns the sites of a provisioned app that serve a handler which matches over
// plain HTTP to other machines. A server behind trusted proxies is left out, as these
// say whether the client used HTTPS, and so is one on loopback alone.
func Sites(app *caddyhttp.App, matches func(caddyhttp.MiddlewareHandler) bool) (found []Site) {
	for _, server := range app.Servers {
		if trustsProxies(server) {
			continue
		}
		var listen []string
		for _, address := range server.Listen {
			if plain(app, server, address) {
				listen = append(listen, address)
			}
		}
		if len(listen) == 0 {
			continue
		}
		for _, hosts := range served(server.Routes, nil, matches, maxDepth) {
			found = append(found, Site{listen, hosts})
		}
		for _, named := range server.NamedRoutes {
			for _, hosts := range served(caddyhttp.RouteList{*named}, nil, matches, maxDepth) {
				found = append(found, Site{listen, hosts})
			}
		}
	}
	slices.SortFunc(found, func(a, b Site) int { return slices.Compare(append(a.Listen, a.Hosts...), append(b.Listen, b.Hosts...)) })
	return found
}

// trustsProxies reports whether a provisioned server has trusted_proxies. Caddy forgets
// the configuration of a module once it is loaded, and keeps the module to itself: what
// can be seen from outside is that there is one. If that changes, nothing is reported.
func trustsProxies(server *caddyhttp.Server) bool {
	loaded := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return server.TrustedProxiesRaw != nil || !loaded.IsValid() || loaded.Kind() != reflect.Interface || !loaded.IsNil()
}

// plain reports whether an address of a server is served without TLS to other machines,
// as Caddy decides it when it starts.
func plain(app *caddyhttp.App, server *caddyhttp.Server, listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return false // Caddy refuses it
	}
	port := app.HTTPPort
	if port == 0 {
		port = caddyhttp.DefaultHTTPPort
	}
	if len(server.TLSConnPolicies) > 0 && int(address.StartPort) != port {
		return false
	}
	if address.Host == "localhost" {
		return false
	}
	host, err := netip.ParseAddr(address.Host)
	return err != nil || !host.IsLoopback()
}

// served returns the hosts of each way to a handler that matches.
func served(routes caddyhttp.RouteList, hosts []string, matches func(caddyhttp.MiddlewareHandler) bool, depth int) (ways [][]string) {
	if depth == 0 {
		return nil
	}
	for _, route := range routes {
		here := hosts
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if host, ok := matcher.(*caddyhttp.MatchHost); ok {
					here = slices.Concat(here, *host)
				}
			}
		}
		for _, handler := range route.Handlers {
			if matches(handler) {
				ways = append(ways, here)
			}
			if subroute, ok := handler.(*caddyhttp.Subroute); ok {
				ways = append(ways, served(subroute.Routes, here, matches, depth-1)...)
			}
		}
	}
	return ways
}
