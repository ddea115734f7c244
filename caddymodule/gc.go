package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core/store"
)

// GC is what the collector removes, and when it runs. It runs beside pushes and
// pulls, and never removes what a manifest needs.
type GC struct {
	// Interval is the time between two runs. Default: 24h.
	Interval caddy.Duration `json:"interval,omitempty"`

	// Grace is how long content stays that no manifest names, since its upload or
	// since a client was told that it is here. It must be longer than any push
	// takes. Default: 1h.
	Grace caddy.Duration `json:"grace,omitempty"`

	// Untagged is the age at which manifests go that no tag reaches, not even by
	// an index or as a subject. It counts from the latest of the push, the moment
	// when the last tag left, and the last pull. Default: they are kept.
	Untagged caddy.Duration `json:"untagged,omitempty"`

	// Uploads is how long an unfinished upload is kept since its last byte.
	// Default: 24h.
	Uploads caddy.Duration `json:"uploads,omitempty"`
}

// defaultInterval is the time between two collections.
const defaultInterval = 24 * time.Hour

// collection is a GC with its defaults.
type collection struct {
	interval, grace, untagged, uploads time.Duration
}

// collection checks the configuration and fills in the defaults.
func (g *GC) collection() (collection, error) {
	c := collection{
		interval: defaultInterval,
		grace:    store.DefaultGrace,
		untagged: store.KeepUntagged,
		uploads:  store.DefaultUploadAge,
	}
	if g == nil {
		return c, nil
	}
	for _, option := range []struct {
		name string
		from caddy.Duration
		to   *time.Duration
	}{
		{"interval", g.Interval, &c.interval},
		{"grace", g.Grace, &c.grace},
		{"untagged", g.Untagged, &c.untagged},
		{"uploads", g.Uploads, &c.uploads},
	} {
		if option.from < 0 {
			return c, fmt.Errorf("%s is negative", option.name)
		}
		if option.from > 0 {
			*option.to = time.Duration(option.from)
		}
	}
	return c, nil
}

func (c collection) options() store.Options {
	return store.Options{Grace: c.grace, Untagged: c.untagged, UploadAge: c.uploads}
}

// schedule says when a storage is collected. It belongs to the storage and not to a
// configuration: otherwise a server whose configuration is loaded every hour would
// never collect.
type schedule struct {
	opened time.Time
	last   time.Time // end of the last run; zero: none yet
}

// next is when the collector is due. The first run waits until the grace is over
// that everything has after a start: before, it could remove nothing.
func (s schedule) next(c collection) time.Time {
	if s.last.IsZero() {
		return s.opened.Add(min(c.interval, c.grace))
	}
	return s.last.Add(c.interval)
}

// due is how long the collector has to wait.
func (s *shared) due(c collection) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.schedule.next(c))
}

// collect runs the collector once, counts it and logs what it removed.
func (s *shared) collect(ctx context.Context, dryRun bool) (control.Collected, error) {
	trees, err := s.acquire(ctx)
	if err != nil {
		return control.Collected{}, err
	}
	defer s.release()
	begun := time.Now()
	done, err := trees.collect(ctx, store.CollectOptions{DryRun: dryRun})
	if dryRun {
		return done, err
	}
	s.mu.Lock()
	s.schedule.last = time.Now()
	s.mu.Unlock()
	observe.CountCollection(done, err)
	if err == nil {
		observe.Succeeded(observe.TaskGC)
	}
	trees.keeping.census.Poke()
	if !errors.Is(err, context.Canceled) {
		s.log.Info("collected", "private", done.Private, "mirrors", done.Mirrors, "took", time.Since(begun))
	}
	return done, err
}
