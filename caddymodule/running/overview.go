package running

import (
	"context"
	"errors"
	"iter"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Overview returns what is known of the storage and of a configuration's mirrors and schedule. The storage
// must be acquired as long as it is used.
func (s *Storage) Overview(specs []MirrorSpec, schedule Schedule) overview.Source {
	return known{s, specs, schedule}
}

type known struct {
	storage  *Storage
	specs    []MirrorSpec
	schedule Schedule
}

// Events implements overview.Source.
func (k known) Events(ctx context.Context, q events.Query, after string) iter.Seq2[events.Event, error] {
	return k.storage.history.Load().events.List(ctx, q, after)
}

// Mirror implements overview.Source.
func (k known) Mirror(name string) (overview.Facts, bool) {
	s := k.storage
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range k.specs {
		if m := s.mirrors[spec.Key]; spec.Name == name && m != nil {
			return s.trees.factsOf(name, m), true
		}
	}
	return overview.Facts{}, false
}

// factsOf returns what is known of a mirror. It does no I/O.
func (t *Trees) factsOf(name string, m *openMirror) overview.Facts {
	state, failed := m.client.State()
	evictor := t.keeping.evictor
	f := overview.Facts{
		State: string(state), Hours: t.history.byHour().Of(name), MaxSize: evictor.MaxSize(name), Held: -1,
		Limit: limitOf(m.client.Limit()),
	}
	if failed != nil {
		f.Since, f.Until, f.Details = failed.Since, failed.Until, failed.Error()
		f.Reason = "the upstream cannot be reached"
		if errors.Is(failed, upstream.ErrRateLimited) {
			f.Reason = "the upstream limits requests"
		}
	}
	if held := evictor.Held(); held != nil {
		f.Held = held[name]
	}
	for _, one := range m.Running() {
		f.Downloads = append(f.Downloads, overview.Fetching{
			Repos: one.Repos, Digest: string(one.Digest), Held: one.Held, Size: one.Size, Readers: one.Readers,
		})
	}
	due, sought := evictor.Next(name)
	f.Sought = sought
	for _, one := range due {
		f.Next = append(f.Next, overview.Due{
			Repository: one.Repo, Digest: string(one.Manifest), Pulled: one.Pulled, Goes: one.End,
		})
	}
	return f
}

func limitOf(l upstream.Limit) overview.Limit {
	shown := overview.Limit{Limit: l.Limit, Remaining: l.Remaining, At: l.At}
	if l.Window > 0 && !l.At.IsZero() {
		shown.Resets = l.At.Add(l.Window)
	}
	return shown
}

// Uses implements overview.Source.
func (k known) Uses(ctx context.Context, mirror string) ([]overview.Use, error) {
	s := k.storage
	s.mu.Lock()
	counter := s.trees.keeping.usage
	s.mu.Unlock()
	uses, err := counter.Of(ctx, mirror)
	shown := make([]overview.Use, 0, len(uses))
	for _, use := range uses {
		shown = append(shown, overview.Use{
			Form: use.Form, Address: use.Client, Requests: use.Requests, First: use.First, Last: use.Last,
		})
	}
	return shown, err
}

// Stored implements overview.Source.
func (k known) Stored() overview.Stored {
	s := k.storage
	s.mu.Lock()
	trees, collector := s.trees, s.schedule.shown(k.schedule)
	s.mu.Unlock()
	counts, stats := trees.keeping.census.Last(), trees.verifying.Stats()
	stored := overview.Stored{Counted: counts.At, Verified: stats.Finished, Collector: collector}
	for _, name := range []string{storage.PrivateTree, storage.MirrorsTree} {
		tree := overview.Tree{Name: name, Quarantine: overview.Amount(stats.Quarantine[name]), Damaged: stats.Damaged[name]}
		if bytes, ok := counts.Trees[name]; ok {
			tree.Bytes = &bytes
		}
		if space, ok := counts.Spaces[name]; ok {
			tree.Disk = &overview.Disk{Free: space.Free, Total: space.Total}
		}
		stored.Trees = append(stored.Trees, tree)
	}
	return stored
}

var _ overview.Source = known{}
