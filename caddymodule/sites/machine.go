package sites

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

// Named is the registry's own URL, the app's url, without a path; nil if there is none.
func Named(own string) *url.URL {
	base, err := url.Parse(own)
	if err != nil || base.Host == "" {
		return nil
	}
	return &url.URL{Scheme: base.Scheme, Host: base.Host}
}

// MachineName is how a site is called that the configuration gives no name.
func MachineName(named *url.URL) string {
	if named != nil {
		return named.Hostname()
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// DialAddress is where this machine reaches what listens on an address.
func DialAddress(address caddy.NetworkAddress) string {
	host := address.Host
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(address.StartPort)))
}
