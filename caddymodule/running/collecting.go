package running

import (
	"context"
	"errors"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core/store"
)

// schedule decides when a storage is collected. It belongs to the storage and not to a
// configuration: otherwise a server whose configuration is reloaded every hour would never
// collect.
type schedule struct {
	opened time.Time
	last   time.Time // end of the last run; zero: none yet
	// done is what the last run removed and left. early: it ended with an error.
	done  control.Collected
	early bool
}

// shown returns what pages show of the collector under a configuration's schedule.
func (s schedule) shown(c Schedule) overview.Collector {
	shown := overview.Collector{Next: s.next(c), Ended: s.last, Early: s.early}
	if s.last.IsZero() {
		return shown
	}
	freed, waiting := overview.Amount{}, overview.Amount{}
	for _, tree := range []store.Collected{s.done.Private, s.done.Mirrors} {
		freed.Objects += tree.Blobs
		freed.Bytes += tree.Bytes
		waiting.Objects += tree.Waiting.Objects
		waiting.Bytes += tree.Waiting.Bytes
	}
	if shown.Freed = &freed; !s.early {
		shown.Waiting = &waiting
	}
	return shown
}

// next returns when the collector is due. The first run waits until the end of the grace period
// that all content has after a start: before, it could remove nothing.
func (s schedule) next(c Schedule) time.Time {
	if s.last.IsZero() {
		return s.opened.Add(min(c.Interval, c.Grace))
	}
	return s.last.Add(c.Interval)
}

// due returns how long the collector has to wait.
func (s *Storage) due(c Schedule) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.schedule.next(c))
}

// collect runs the collector once, counts it and logs what it removed.
func (s *Storage) collect(ctx context.Context, dryRun bool) (control.Collected, error) {
	trees, err := s.Acquire(ctx)
	if err != nil {
		return control.Collected{}, err
	}
	defer s.Release()
	begun := time.Now()
	done, err := trees.Collect(ctx, store.CollectOptions{DryRun: dryRun})
	if dryRun {
		return done, err
	}
	s.mu.Lock()
	s.schedule.last, s.schedule.done, s.schedule.early = time.Now(), done, err != nil
	s.mu.Unlock()
	observe.CountCollection(done, err)
	trees.history.collected(done, err)
	if err == nil {
		observe.Succeeded(observe.TaskGC)
	}
	trees.keeping.census.Poke()
	if !errors.Is(err, context.Canceled) {
		s.log.Info("collected", "private", done.Private, "mirrors", done.Mirrors, "took", time.Since(begun))
	}
	return done, err
}
