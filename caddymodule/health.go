package caddymodule

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/upstream"
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
	h.app.shared.health.Serve(w, r, func(readable bool) bool {
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
	if _, err := h.app.shared.acquire(r.Context()); err != nil {
		return false
	}
	defer h.app.shared.release()
	gate := h.gate()
	gate.Others, gate.Locals = nil, nil
	who, err := gate.Admit(r.Context(), a.credential, nil, a.conn, nil)
	if err != nil || who.Anonymous() {
		return false
	}
	addIdentity(r, who)
	return h.app.policy.Allows(who.Identity, policies.Admin, "")
}

// subject is a storage as package health looks at it.
type subject struct{ *shared }

var _ health.Subject = subject{}

// with calls look with the trees, which are open meanwhile.
func (s subject) with(ctx context.Context, look func(*trees) error) error {
	t, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer s.release()
	return look(t)
}

// Read implements health.Subject. What mirrors hold is read, too: it may lie on another
// disk.
func (s subject) Read(ctx context.Context) error {
	return s.with(ctx, func(t *trees) error {
		if err := t.private.Readable(ctx); err != nil {
			return fmt.Errorf("private images: %w", err)
		}
		if err := t.mirrors.Readable(ctx); err != nil {
			return fmt.Errorf("what mirrors hold: %w", err)
		}
		return nil
	})
}

// Room implements health.Subject.
func (s subject) Room(ctx context.Context) error {
	return s.with(ctx, func(t *trees) error { return t.pushes.Room(0) })
}

// Write implements health.Subject. Mirrors serve what they cannot keep, so only the disk of
// what is pushed is written to.
func (s subject) Write(ctx context.Context) error {
	return s.with(ctx, func(t *trees) error { return t.private.Writable(ctx) })
}

// Parts implements health.Subject.
func (s subject) Parts() []health.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return nil
	}
	parts := []health.Part{
		indexPart("index", s.trees.private.Indexed()),
		indexPart("index of mirrors", s.trees.mirrors.Indexed()),
	}
	if !s.trees.keeping.evictor.Keeping() {
		parts = append(parts, health.Part{Name: "space of mirrors", State: health.Degraded,
			Detail: "less than min_free is free and nothing is left to evict: mirrors keep nothing more"})
	}
	if len(s.settings) == 0 {
		return parts
	}
	last := s.settings[len(s.settings)-1]
	for _, spec := range last.mirrors {
		if m := s.mirrors[spec.key]; m != nil {
			parts = append(parts, mirrorPart(spec.name, m.client))
		}
	}
	if shared, ok := last.cache.(redisState); ok {
		parts = append(parts, redisPart(shared.State()))
	}
	if last.signIn != nil {
		answered, err := last.signIn.provider.Known()
		parts = append(parts, signInPart(answered, err))
	}
	return slices.Clip(parts)
}

// redisState is a shared cache that knows how it is: redis.Cache.
type redisState interface{ State() redis.State }

func indexPart(name string, whole bool) health.Part {
	if whole {
		return health.Part{Name: name, State: health.OK}
	}
	return health.Part{Name: name, State: health.Degraded, Detail: "it is being rebuilt; lists scan the storage meanwhile"}
}

func mirrorPart(name string, client *upstream.Client) health.Part {
	state, failed := client.State()
	part := health.Part{Name: "mirror " + name}
	switch state {
	case upstream.StateOK:
		part.State = health.OK
	case upstream.StateUnknown:
		part.State, part.Detail = health.Unknown, "not asked since the start"
	case upstream.StateLimited:
		part.State, part.Detail = health.Degraded, "rate limited until "+failed.Until.UTC().Format(time.RFC3339)
	case upstream.StateAway:
		part.State, part.Detail = health.Failed, failed.Error()
	}
	return part
}

func redisPart(state redis.State) health.Part {
	part := health.Part{Name: "redis", State: health.OK}
	switch state {
	case redis.StateUnknown:
		part.State, part.Detail = health.Unknown, "not asked since the start"
	case redis.StatePartly:
		part.State, part.Detail = health.Degraded, "some nodes do not answer; what they hold is not shared"
	case redis.StateAway:
		part.State, part.Detail = health.Failed, "it does not answer; upstreams are asked instead"
	}
	return part
}

func signInPart(answered bool, err error) health.Part {
	switch {
	case err != nil:
		return health.Part{Name: "signin", State: health.Failed, Detail: err.Error()}
	case !answered:
		return health.Part{Name: "signin", State: health.Unknown, Detail: "not asked since the start"}
	}
	return health.Part{Name: "signin", State: health.OK}
}
