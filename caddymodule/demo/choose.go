package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/sites"
)

// requestLimit bounds one request; the largest has a kilobyte.
const requestLimit = 30 * time.Second

// Plan is where the image is pushed to, under which name, and as whom.
type Plan struct {
	// Base is the root of the site as clients call it.
	Base *url.URL
	// Dial is the address that is connected to, as 127.0.0.1:5050.
	Dial string
	// PrivateCA reports whether Caddy's own authority made the certificate.
	PrivateCA bool
	// Roots are the authorities that are believed; nil: those of the system.
	Roots *x509.CertPool
	Rights
}

// Target chooses the site: the one that to names, or the one that is the easiest to use
// from this machine. name is what a site without a host name is called if it has TLS.
func Target(found []sites.Site, to, name string) (*Plan, error) {
	var best *Plan
	rank := 0
	named := false
	for _, site := range found {
		p, usable := planFor(site, name), rankOf(site)
		if to != "" && to != p.Base.Host && to != p.Dial {
			continue
		}
		named = true
		if usable > rank {
			best, rank = p, usable
		}
	}
	switch {
	case best != nil:
		return best, nil
	case to != "" && named:
		return nil, fmt.Errorf("the site %s takes no push from this machine: it is read_only, stands for a mirror, or is plain HTTP beyond loopback", to)
	case to != "":
		return elsewhere(to)
	case len(found) == 0:
		return nil, errors.New("no site of the configuration has the directive oci_registry")
	}
	return nil, errors.New("no site of the configuration takes credentials from this machine; add an https:// site, or a plain one that listens on 127.0.0.1")
}

// rankOf is 0 for a site that takes no push from this machine, and higher the less it
// takes to use it from here.
func rankOf(site sites.Site) int {
	switch {
	case site.ReadOnly || site.Upstream != "":
		return 0
	case site.TLS && site.PrivateCA:
		return 2
	case site.TLS:
		return 3
	case !site.Loopback() && !listensOnAll(site) && !site.InsecureCredentials:
		return 0
	case site.Host == "" || local(site.Host):
		return 4
	}
	return 1 // a name whose plain HTTP clients must be told of
}

func listensOnAll(site sites.Site) bool {
	ip, err := netip.ParseAddr(site.Address.Host)
	return site.Address.Host == "" || err == nil && ip.IsUnspecified()
}

// local reports whether a host is a name of this machine's loopback.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

func planFor(site sites.Site, name string) *Plan {
	if !site.TLS {
		name = "localhost"
	}
	host := site.Address.Host
	if listensOnAll(site) {
		host = "localhost"
	}
	return &Plan{Base: site.Base(name), Dial: net.JoinHostPort(host, fmt.Sprint(site.Address.StartPort)), PrivateCA: site.PrivateCA}
}

// elsewhere is an address that no site has, as one of a proxy: plain HTTP on loopback, as
// Docker takes it, and else HTTPS.
func elsewhere(to string) (*Plan, error) {
	base, err := url.Parse("https://" + to)
	if err != nil || base.Host != to || base.Hostname() == "" {
		return nil, fmt.Errorf("--to %q is not a host, or a host and a port", to)
	}
	dial := to
	if local(base.Hostname()) {
		base.Scheme = "http"
	}
	if base.Port() == "" {
		dial = net.JoinHostPort(base.Hostname(), map[string]string{"http": "80", "https": "443"}[base.Scheme])
	}
	return &Plan{Base: base, Dial: dial}, nil
}

// client is one that connects to the address of the plan. It asks no proxy, because the
// key is for this machine alone, and follows no redirect, which could lead elsewhere.
func (p *Plan) client() *http.Client {
	dialer := &net.Dialer{Timeout: requestLimit}
	return &http.Client{
		Timeout: requestLimit,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", p.Dial)
			},
			TLSClientConfig: &tls.Config{RootCAs: p.Roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
