package identity

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/eblume/caddy-registry/core/namespace"
)

// Connection is what is known about how a request came.
type Connection struct {
	// HTTPS says that nobody between the client and us could read it: TLS, or a
	// trusted proxy that says so.
	HTTPS bool
	// Loopback says that it never left this machine: both ends are loopback, and
	// nobody forwarded it.
	Loopback bool
	// Host is the host that the client called, with the port that it wrote.
	Host string
}

// Private tells whether a credential on this connection is nobody else's to read.
func (c Connection) Private() bool { return c.HTTPS || c.Loopback }

// Scheme is http or https.
func (c Connection) Scheme() string {
	if c.HTTPS {
		return "https"
	}
	return "http"
}

// Base is the URL of the site as the client called it, without a slash at its end.
func (c Connection) Base() string { return c.Scheme() + "://" + c.Host }

// Audience is the host as registry tokens name it.
func (c Connection) Audience() string { return namespace.CanonicalHost(c.Host) }

// forwarding are the fields by which a request shows that somebody forwarded it.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// ConnectionOf looks at a request. trusted says that a proxy sent it whose forwarding
// fields may be believed; those of anybody else say only that there is one.
func ConnectionOf(r *http.Request, trusted bool) Connection {
	c := Connection{HTTPS: r.TLS != nil, Host: r.Host}
	if trusted {
		if scheme := first(r.Header.Get("X-Forwarded-Proto")); scheme != "" {
			c.HTTPS = strings.EqualFold(scheme, "https")
		}
		if host := first(r.Header.Get("X-Forwarded-Host")); validHost(host) {
			c.Host = host
		}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	c.Loopback = local != nil && loopback(local.String()) && loopback(r.RemoteAddr) && !forwarded(r)
	return c
}

func forwarded(r *http.Request) bool {
	for _, field := range forwarding {
		if _, ok := r.Header[field]; ok {
			return true
		}
	}
	return false
}

// first is the first element of a list: what the client itself called.
func first(list string) string {
	value, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(value)
}

// validHost refuses what would be more than a host in a challenge.
func validHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-:[]_", r))
	})
}

func loopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}
