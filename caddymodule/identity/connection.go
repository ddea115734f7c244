package identity

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core/namespace"
)

// Connection describes how a request arrived.
type Connection struct {
	// HTTPS reports that others on the way could not read it: TLS, or a trusted proxy that
	// reports TLS.
	HTTPS bool
	// Loopback reports that it never left this machine: both ends are loopback, and it was not
	// forwarded.
	Loopback bool
	// Host is the host that the client called, with the port that it wrote.
	Host string
}

// Private reports whether others cannot read a credential on this connection.
func (c Connection) Private() bool { return c.HTTPS || c.Loopback }

// scheme is http or https.
func (c Connection) scheme() string {
	if c.HTTPS {
		return "https"
	}
	return "http"
}

// Base is the URL of the site as the client called it, without a slash at its end.
func (c Connection) Base() string { return c.scheme() + "://" + c.Host }

// Audience is the host as registry tokens name it.
func (c Connection) Audience() string { return namespace.CanonicalHost(c.Host) }

// forwarding are the fields which show that a request was forwarded.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// ConnectionOf describes the connection of a request. trusted reports that a proxy sent it whose
// forwarding fields may be trusted; those of any other sender show only that there is a proxy.
func ConnectionOf(r *http.Request, trusted bool) Connection {
	c := Connection{HTTPS: r.TLS != nil, Host: r.Host}
	if trusted {
		c.believe(r.Header)
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	c.Loopback = local != nil && loopbackAt(local) && loopback(r.RemoteAddr) && !forwarded(r)
	return c
}

// believe applies a proxy's description of the client's connection:
// X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-Port, or, if the first two are
// absent, Forwarded (RFC 7239). A proxy that sets the former may pass on the latter
// as a client wrote it. The port is for a host without one, as nginx passes it on by
// `proxy_set_header Host $host`.
func (c *Connection) believe(header http.Header) {
	scheme, host := first(header.Get("X-Forwarded-Proto")), first(header.Get("X-Forwarded-Host"))
	if scheme == "" && host == "" {
		scheme, host = readForwarded(header.Get("Forwarded"))
	}
	if scheme != "" {
		c.HTTPS = strings.EqualFold(scheme, "https")
	}
	if validHost(host) {
		c.Host = host
	}
	port, err := strconv.ParseUint(first(header.Get("X-Forwarded-Port")), 10, 16)
	if err != nil || port == 0 || c.HTTPS && port == 443 || !c.HTTPS && port == 80 {
		return
	}
	if bare, err := url.Parse("//" + c.Host); err == nil && bare.Host == c.Host && bare.Port() == "" && !strings.HasSuffix(c.Host, ":") {
		c.Host += ":" + strconv.FormatUint(port, 10)
	}
}

// readForwarded returns the scheme and the host of the client's own request from the first
// element of a Forwarded field, which is the one nearest to the client. Both are empty if the
// element is malformed.
func readForwarded(field string) (scheme, host string) {
	seen := map[string]bool{}
	for rest := field; ; {
		name, value, after, ok := forwardedPair(rest)
		if !ok || seen[name] { // RFC 7239, 4: each parameter is there once
			return "", ""
		}
		seen[name] = true
		switch name {
		case "proto":
			scheme = value
		case "host":
			host = value
		}
		after = strings.TrimLeft(after, " \t")
		if after == "" || after[0] == ',' {
			return scheme, host
		}
		if after[0] != ';' {
			return "", ""
		}
		rest = after[1:]
	}
}

// forwardedPair reads one parameter: its name in lower case, and its value, which is a
// token or a quoted string.
func forwardedPair(text string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(text, "=")
	name = strings.ToLower(strings.Trim(name, " \t"))
	if !ok || name == "" || strings.ContainsAny(name, " \t,;\"") {
		return "", "", "", false
	}
	if !strings.HasPrefix(rest, `"`) {
		end := strings.IndexAny(rest, " \t,;\"")
		if end < 0 {
			end = len(rest)
		}
		return name, rest[:end], rest[end:], end > 0
	}
	var unquoted strings.Builder
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '"':
			return name, unquoted.String(), rest[i+1:], true
		case rest[i] == '\\' && i+1 < len(rest):
			i++
		}
		unquoted.WriteByte(rest[i])
	}
	return "", "", "", false
}

func forwarded(r *http.Request) bool {
	for _, field := range forwarding {
		if _, ok := r.Header[field]; ok {
			return true
		}
	}
	return false
}

// first returns the first element of a list: the value that the client itself used.
func first(list string) string {
	value, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(value)
}

// validHost refuses texts that would be more than a host in a challenge.
func validHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-:[]_", r))
	})
}

// loopbackAt is loopback for the address of a socket. It avoids the three allocations of its
// text.
func loopbackAt(at net.Addr) bool {
	if tcp, ok := at.(*net.TCPAddr); ok {
		return tcp.IP.IsLoopback()
	}
	return loopback(at.String())
}

func loopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}
