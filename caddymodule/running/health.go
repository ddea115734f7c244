package running

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/upstream"
)

// subject is a storage as package health examines it.
type subject struct{ *Storage }

var _ health.Subject = subject{}

// with calls look with the trees, and keeps them open during the call.
func (s subject) with(ctx context.Context, look func(*Trees) error) error {
	t, err := s.Acquire(ctx)
	if err != nil {
		return err
	}
	defer s.Release()
	return look(t)
}

// Read implements health.Subject. It also reads content of mirrors, which may be on another
// disk.
func (s subject) Read(ctx context.Context) error {
	return s.with(ctx, func(t *Trees) error {
		if err := t.Private.Readable(ctx); err != nil {
			return fmt.Errorf("private images: %w", err)
		}
		if err := t.Mirrors.Readable(ctx); err != nil {
			return fmt.Errorf("what mirrors hold: %w", err)
		}
		return nil
	})
}

// Room implements health.Subject.
func (s subject) Room(ctx context.Context) error {
	return s.with(ctx, func(t *Trees) error { return t.pushes.Room(0) })
}

// Write implements health.Subject. It writes only to the disk of pushed content, because
// mirrors also serve content that they cannot store.
func (s subject) Write(ctx context.Context) error {
	return s.with(ctx, func(t *Trees) error { return t.Private.Writable(ctx) })
}

// Parts implements health.Subject.
func (s subject) Parts() []health.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return nil
	}
	parts := []health.Part{
		indexPart("index", s.trees.Private.Indexed()),
		indexPart("index of mirrors", s.trees.Mirrors.Indexed()),
	}
	if !s.trees.keeping.evictor.Keeping() {
		parts = append(parts, health.Part{Name: "space of mirrors", State: health.Degraded,
			Detail: "less than min_free is free and nothing is left to evict: mirrors keep nothing more"})
	}
	if len(s.settings) == 0 {
		return parts
	}
	last := s.settings[len(s.settings)-1]
	for _, spec := range last.Mirrors {
		if m := s.mirrors[spec.Key]; m != nil {
			parts = append(parts, mirrorPart(spec.Name, m.client))
		}
	}
	if shared, ok := last.Cache.(redisState); ok {
		parts = append(parts, redisPart(shared.State()))
	}
	if last.SignIn != nil {
		answered, err := last.SignIn.Provider.Known()
		parts = append(parts, signInPart(answered, err))
	}
	return slices.Clip(parts)
}

// redisState is a shared cache that reports its state: redis.Cache.
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
