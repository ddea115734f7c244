package registrytest

import (
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Caddyfile returns the Caddyfile of a registry on a port of loopback, with further options
// in its block oci and further directives in its site.
func Caddyfile(port int, storage, oci, options string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	grace_period 2s
	oci {
		storage file %s
		%s
	}
}
http://:%d {
	bind 127.0.0.1
	metrics /metrics
	oci_registry
	%s
}
`, storage, oci, port, options)
}

// AllowAll is a policy that grants everything to everybody.
const AllowAll = `policy {
			allow anonymous *
		}`

// Mirror returns the block of a mirror of an upstream on loopback.
func Mirror(name string, u *upstreamtest.Upstream, options ...string) string {
	return fmt.Sprintf("mirror %s {\nupstream %s\nallow_private %s\n%s\n%s\n}\n",
		name, u.URL, strings.Join(u.AllowPrivate(), " "), Unhurried, strings.Join(options, "\n"))
}

// Unhurried has a mirror wait for its upstream as long as a test may take: a busy
// machine is not an upstream that hangs.
const Unhurried = "connect_timeout 1m\nhead_timeout 1m\nstall_timeout 1m"

// CaddyfileWith returns a Caddyfile as Caddyfile does, with options of its oci_registry.
func CaddyfileWith(port int, storage, oci, options string) string {
	text := Caddyfile(port, storage, oci, "")
	return strings.Replace(text, "\toci_registry\n", "\toci_registry {\n"+options+"\n}\n", 1)
}
