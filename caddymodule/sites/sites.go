// Package sites reads from a configuration where a registry is served: the addresses, the
// host names, whether by TLS, and what the directive of each site says. It opens nothing and
// asks nobody, so it also describes a registry that does not run.
//
//	found, err := sites.Read(document) // Caddy's JSON
//	found[0].Base("registry.example.org").String()
package sites

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
)

// Site is one name under which a registry is served at one address.
type Site struct {
	// Host is the name that clients call; empty: any.
	Host string
	// Address is the address that the server listens on; its host is empty or unspecified
	// if it listens on all of them.
	Address caddy.NetworkAddress
	// TLS reports whether the site is served by TLS, and PrivateCA whether its certificate
	// is of Caddy's own authority, which clients do not know.
	TLS, PrivateCA bool
	// Proxied reports whether proxies in front of the site are trusted.
	Proxied bool
	// The options of the directive.
	Upstream, Fallback            string
	ReadOnly, InsecureCredentials bool
}

// Loopback reports whether the site listens on loopback alone.
func (s Site) Loopback() bool {
	ip, err := netip.ParseAddr(s.Address.Host)
	return s.Address.Host == "localhost" || err == nil && ip.IsLoopback()
}

// Wild reports whether the site has no host name and listens on all addresses, so that
// the configuration does not say under which name clients reach it.
func (s Site) Wild() bool {
	ip, err := netip.ParseAddr(s.Address.Host)
	return s.Host == "" && (s.Address.Host == "" || err == nil && ip.IsUnspecified())
}

// Base is the root of the site as clients call it. name is what a site with neither a
// host name nor an address of its own is called.
func (s Site) Base(name string) *url.URL {
	host, scheme, usual := s.Host, "http", uint(80)
	if host == "" {
		host = s.Address.Host
	}
	if s.Wild() {
		host = name
	}
	if s.TLS {
		scheme, usual = "https", 443
	}
	at := net.JoinHostPort(host, strconv.Itoa(int(s.Address.StartPort)))
	if s.Address.StartPort == usual {
		at = strings.TrimSuffix(at, ":"+strconv.Itoa(int(usual)))
	}
	return &url.URL{Scheme: scheme, Host: at}
}

// Read finds the sites of a configuration, in their order. A path matcher that keeps the
// directive from /v2/ makes no site, as no client could use it, and neither does a server
// that listens on a socket file.
func Read(document []byte) ([]Site, error) {
	var config struct {
		Apps struct {
			HTTP *caddyhttp.App `json:"http"`
			TLS  struct {
				Automation struct {
					Policies []policy `json:"policies"`
				} `json:"automation"`
			} `json:"tls"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(document, &config); err != nil {
		return nil, fmt.Errorf("read the sites: %w", err)
	}
	app := config.Apps.HTTP
	if app == nil {
		return nil, nil
	}
	httpPort := uint(caddyhttp.DefaultHTTPPort)
	if app.HTTPPort != 0 {
		httpPort = uint(app.HTTPPort)
	}
	var all []Site
	for _, name := range sortedKeys(app.Servers) {
		server := app.Servers[name]
		handlers, err := find(server.Routes, nil)
		if err != nil {
			return nil, err
		}
		for _, listen := range server.Listen {
			address, err := caddy.ParseNetworkAddress(listen)
			if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
				continue
			}
			for _, h := range handlers {
				site := h.site
				site.Address, site.Proxied = address, server.TrustedProxiesRaw != nil
				site.TLS = address.StartPort != httpPort && encrypted(server, site.Host)
				site.PrivateCA = site.TLS && private(config.Apps.TLS.Automation.Policies, site.Host)
				all = append(all, site)
			}
		}
	}
	return all, nil
}

func sortedKeys(servers map[string]*caddyhttp.Server) []string {
	names := make([]string, 0, len(servers))
	for name := range servers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// encrypted reports what Caddy's automatic HTTPS makes of a host.
func encrypted(server *caddyhttp.Server, host string) bool {
	auto := server.AutoHTTPS
	switch {
	case len(server.TLSConnPolicies) > 0:
		return true
	case host == "" || auto != nil && (auto.Disabled || slices.Contains(auto.Skip, host)):
		return false
	}
	return true
}

// policy is an automation policy of certificates.
type policy struct {
	Subjects []string `json:"subjects"`
	Issuers  []struct {
		Module string `json:"module"`
	} `json:"issuers"`
}

// private reports whether Caddy's own authority makes the certificate of a host.
func private(policies []policy, host string) bool {
	for _, p := range policies {
		if len(p.Subjects) > 0 && !slices.ContainsFunc(p.Subjects, func(s string) bool { return certmagic.MatchWildcard(host, s) }) {
			continue
		}
		for _, issuer := range p.Issuers {
			if issuer.Module == "internal" {
				return true
			}
		}
		if len(p.Issuers) > 0 {
			return false
		}
	}
	return !certmagic.SubjectQualifiesForPublicCert(host)
}

// found is the directive in a route, with a host name for each under which it is reached.
type found struct{ site Site }

// find looks for the directive in routes, below what hosts say.
func find(routes caddyhttp.RouteList, hosts []string) ([]found, error) {
	var all []found
	for _, route := range routes {
		within, reached, err := narrow(route.MatcherSetsRaw, hosts)
		if err != nil {
			return nil, err
		}
		if !reached {
			continue
		}
		for _, raw := range route.HandlersRaw {
			var handler struct {
				Handler             string              `json:"handler"`
				Routes              caddyhttp.RouteList `json:"routes"`
				Upstream            string              `json:"upstream"`
				Fallback            string              `json:"fallback"`
				ReadOnly            bool                `json:"read_only"`
				InsecureCredentials bool                `json:"insecure_credentials"`
			}
			var kind struct {
				Handler string `json:"handler"`
			}
			if err := json.Unmarshal(raw, &kind); err != nil {
				return nil, fmt.Errorf("read the sites: %w", err)
			}
			if kind.Handler != "subroute" && kind.Handler != "oci_registry" {
				continue // its members may be of other types
			}
			if err := json.Unmarshal(raw, &handler); err != nil {
				return nil, fmt.Errorf("read the sites: %w", err)
			}
			if kind.Handler == "subroute" {
				inner, err := find(handler.Routes, within)
				if err != nil {
					return nil, err
				}
				all = append(all, inner...)
				continue
			}
			site := Site{Upstream: handler.Upstream, Fallback: handler.Fallback, ReadOnly: handler.ReadOnly, InsecureCredentials: handler.InsecureCredentials}
			if len(within) == 0 {
				all = append(all, found{site})
			}
			for _, host := range within {
				if site.Host = host; !strings.Contains(host, "*") {
					all = append(all, found{site})
				}
			}
		}
	}
	return all, nil
}

// narrow returns the host names that a route's matchers leave of hosts, and whether the
// protocol's root can reach the route.
func narrow(sets caddyhttp.RawMatcherSets, hosts []string) (within []string, reached bool, err error) {
	if len(sets) == 0 {
		return hosts, true, nil
	}
	for _, set := range sets {
		var paths, names []string
		for name, into := range map[string]*[]string{"path": &paths, "host": &names} {
			if raw := set[name]; raw != nil {
				if err := json.Unmarshal(raw, into); err != nil {
					return nil, false, fmt.Errorf("read the sites: matcher %s: %w", name, err)
				}
			}
		}
		if len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix("/v2/", strings.TrimSuffix(p, "*")) }) {
			continue
		}
		reached = true
		if names == nil {
			names = hosts
		}
		within = append(within, names...)
	}
	return within, reached, nil
}
