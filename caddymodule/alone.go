package caddymodule

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/sites"
)

const (
	// aloneLimit bounds the look for another registry at a start.
	aloneLimit = 5 * time.Second
	// aloneNames bounds the host names that are tried at one address.
	aloneNames = 4
)

// servedAlone has the addresses at which this process was found to be alone. A reload does
// not look again: this process answers there.
var servedAlone sync.Map

// servedBy notes a server of a site with the directive.
func (a *App) servedBy(server *caddyhttp.Server) {
	if server == nil {
		return
	}
	if a.servers == nil {
		a.servers = map[*caddyhttp.Server]struct{}{}
	}
	a.servers[server] = struct{}{}
}

// checkAlone refuses an address on which another registry process answers. Caddy itself
// would share the address with it (SO_REUSEPORT), and each request would reach either of
// the two. A process that is exiting does not count, and neither does another program: if
// that does not share the address, listening fails by itself.
func (a *App) checkAlone() error {
	ctx, cancel := context.WithTimeout(a.life, aloneLimit)
	defer cancel()
	for server := range a.servers {
		for _, listen := range server.Listen {
			address, err := caddy.ParseNetworkAddress(listen)
			if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
				continue
			}
			at := sites.DialAddress(address)
			if _, known := servedAlone.Load(at); known {
				continue
			}
			look := instance.Look
			if caddy.ListenerUsage(address.Network, address.JoinHostPort(0)) == 0 {
				look = instance.LookOnce // whoever answers is another process
			}
			for _, base := range a.basesAt(server, at) {
				seen := look(ctx, at, base, instance.ID)
				if seen.Other > 0 {
					return fmt.Errorf("another registry process already answers on %s: stop it, or give this registry another address; if both listened, requests would reach either of them", at)
				}
				if seen.Nobody {
					break
				}
			}
			servedAlone.Store(at, struct{}{})
		}
	}
	return nil
}

// basesAt are the URLs by which this registry, and so another one of the same
// configuration, answers at an address. Names of the server's other sites are not among
// them: a proxy there may lead to another registry.
func (a *App) basesAt(server *caddyhttp.Server, at string) []*url.URL {
	scheme := "http"
	if len(server.TLSConnPolicies) > 0 {
		scheme = "https"
	}
	hosts := slices.DeleteFunc(servedHosts(server.Routes, []string{at}), func(h string) bool { return strings.ContainsAny(h, "*{") })
	var bases []*url.URL
	for _, host := range hosts[:min(len(hosts), aloneNames)] {
		bases = append(bases, &url.URL{Scheme: scheme, Host: host})
	}
	return bases
}

// servedHosts are the host names under which routes reach a Handler, below what hosts are.
func servedHosts(routes caddyhttp.RouteList, hosts []string) (served []string) {
	reach(routes, hosts, func(_ *Handler, within []string) { served = append(served, within...) })
	return served
}
