package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Dialer connects to address, a name or an IP with a port. It calls control with
// every resolved address before it connects, and gives up if control returns an
// error.
type Dialer func(ctx context.Context, address string, control func(netip.AddrPort) error) (net.Conn, error)

// errPrivate is the refusal to call an address that is not public.
var errPrivate = errors.New("leads to an address that is not public; allow_private would allow it")

// guard decides which addresses an upstream may send us to.
type guard struct {
	// own are the host:port pairs that the operator configured as upstream.
	own      []string
	prefixes []netip.Prefix
	// hosts are the host:port pairs of allow_private.
	hosts   []string
	dial    Dialer
	timeout time.Duration // of one connection
}

func newGuard(bases []*url.URL, allow []string, dial Dialer, timeout time.Duration) (*guard, error) {
	if dial == nil {
		dial = machine
	}
	g := &guard{dial: dial, timeout: timeout}
	for _, base := range bases {
		g.own = append(g.own, hostPort(base))
	}
	for _, s := range allow {
		if p, err := netip.ParsePrefix(s); err == nil {
			g.prefixes = append(g.prefixes, p.Masked())
			continue
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("allow_private %q: neither a CIDR nor host:port", s)
		}
		g.hosts = append(g.hosts, strings.ToLower(net.JoinHostPort(host, port)))
	}
	return g, nil
}

// dialContext is the transport's DialContext. The check is on each address that is
// about to be connected to, so that a name cannot resolve to another address in
// between.
func (g *guard) dialContext(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	address = strings.ToLower(address)
	return g.dial(ctx, address, func(resolved netip.AddrPort) error {
		if slices.Contains(g.own, address) || slices.Contains(g.hosts, address) || public(resolved.Addr()) {
			return nil
		}
		addr := resolved.Addr().Unmap().WithZone("")
		for _, p := range g.prefixes {
			if p.Contains(addr) {
				return nil
			}
		}
		return fmt.Errorf("%s: %w", address, errPrivate)
	})
}

// step checks a redirect, a link or a realm before it is followed.
func (g *guard) step(from, to *url.URL) error {
	switch {
	case to.Scheme != "https" && to.Scheme != "http" || to.Hostname() == "":
		return errors.New("leads to something that is not http")
	case from.Scheme == "https" && to.Scheme != "https":
		return errors.New("leads from https to http")
	case to.User != nil:
		return errors.New("carries credentials in its URL")
	}
	return nil
}

// trusts reports whether the credentials for base may be sent to realm: the same
// host and port, the same registrable domain, or a host:port that the operator
// named. registry-1.docker.io gets its tokens from auth.docker.io.
func (g *guard) trusts(base, realm *url.URL) bool {
	if g.step(base, realm) != nil {
		return false
	}
	if hostPort(base) == hostPort(realm) || slices.Contains(g.hosts, hostPort(realm)) {
		return true
	}
	if _, err := netip.ParseAddr(realm.Hostname()); err == nil {
		return false // addresses have no domain
	}
	a, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(base.Hostname()))
	b, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(realm.Hostname()))
	return errA == nil && errB == nil && a == b
}

// hostPort is the host and port that a URL leads to, in lower case.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// special are the blocks, beyond those that net/netip knows, which lead into
// private networks: carrier-grade NAT (also overlay networks and a cloud's
// metadata), this network, protocol assignments, benchmarks, reserved, site-local.
var special = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("fec0::/10"),
}

// Prefixes whose addresses carry an IPv4 address: NAT64 at its end, 6to4 after
// the first two bytes.
var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	nat64l = netip.MustParsePrefix("64:ff9b:1::/48")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// public reports whether addr is an address of the public internet.
func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	b := addr.As16()
	switch {
	case nat64l.Contains(addr):
		return false // a network's own translation
	case nat64.Contains(addr):
		return public(netip.AddrFrom4([4]byte(b[12:16])))
	case sixTo4.Contains(addr):
		return public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return addr.IsGlobalUnicast() && !addr.IsPrivate() &&
		!slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) })
}
