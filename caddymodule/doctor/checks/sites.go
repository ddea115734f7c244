package checks

import (
	"context"
	"fmt"
	"net/url"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/sites"
)

// Site is a site of the configuration, and its root as clients call it.
type Site struct {
	sites.Site
	Base *url.URL
}

// look reports whether the site takes credentials, and whether the process with the ID
// running alone answers there. An empty ID is that of no process.
func (s Site) look(ctx context.Context, running string) (string, error) {
	at := sites.DialAddress(s.Address)
	id := running
	if id == "" {
		id = instance.ID
	}
	seen := instance.Look(ctx, at, s.Base, id)
	switch {
	case seen.Other > 0 && running == "":
		return "", fmt.Errorf("a registry with another storage answers on %s, while none runs on this one; stop one of them, or give it another address", at)
	case seen.Other > 0:
		return "", fmt.Errorf("another registry process answers on %s too, so requests reach either of them; stop one, or give it another address", at)
	case seen.Nobody && running == "":
		return "no registry runs", nil
	case seen.Nobody:
		return "", doctor.Warnf("no process listens on %s; does the running registry have this configuration? `caddy-registry reload` loads it", at)
	case seen.Same == 0 && running == "":
		return "", doctor.Warnf("another program than a registry answers on %s, which keeps a registry from starting there", at)
	case seen.Unknown > 0:
		return "", doctor.Warnf("%d of %d requests to %s were not answered by this registry: another program listens there too, or another handler answers them", seen.Unknown, seen.Unknown+seen.Same, at)
	}
	if !s.TLS && !s.ReadOnly && !s.InsecureCredentials && !s.Loopback() && !s.Proxied {
		return "", doctor.Warnf("takes no credentials from other machines, because it is plain HTTP: docker login fails there with a wrong reason; use an https:// site, `read_only`, or `insecure_credentials` on a network that you trust")
	}
	return "this registry alone answers on " + at, nil
}
