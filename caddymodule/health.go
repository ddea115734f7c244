package caddymodule

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// checkHealth checks the word of the option health.
func (h *Handler) checkHealth() error {
	if h.Health != "" && h.Health != "off" {
		return fmt.Errorf("%q must be off", h.Health)
	}
	return nil
}

// serveHealth answers the paths of package health, if this site has them. It reports
// whether it did.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request) bool {
	if h.Health == "off" || !health.Serves(r.URL.Path) {
		return false
	}
	wire.Protect(w.Header())
	h.app.storage.Health.Serve(w, r, func(readable bool) bool {
		return connectionOf(r).Loopback && namesLoopback(r.Host) || readable && h.administers(r)
	})
	return true
}

// namesLoopback reports whether a Host field is what a caller on this machine writes. A
// proxy on it that adds no forwarding field passes the name on that strangers call, and so
// does a browser whose name server has sent it here.
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}

// administers reports whether an administrator asks, by an API key or a registry token.
// Other credentials are left out, as an issuer or a provider might have to be asked.
func (h *Handler) administers(r *http.Request) bool {
	a := readAsked(r, identity.AtRegistry)
	if a.broken != nil || !a.credential.Presented() {
		return false
	}
	if _, err := h.app.storage.Acquire(r.Context()); err != nil {
		return false
	}
	defer h.app.storage.Release()
	gate := h.gate()
	gate.Others, gate.Locals = nil, nil
	who, err := gate.Admit(r.Context(), a.credential, nil, a.conn, nil)
	if err != nil || who.Anonymous() {
		return false
	}
	addIdentity(r, who)
	return h.app.policy.Allows(who.Identity, policies.Admin, "")
}
