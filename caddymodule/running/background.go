package running

import (
	"context"
	"log/slog"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
)

// Schedule is a configuration's schedule for the collector.
type Schedule struct {
	// Interval is the time between two runs.
	Interval time.Duration
	// Grace is how long unreferenced content is kept.
	Grace time.Duration
}

// CollectOn runs the collector by a schedule until ctx ends. log is the configuration's.
func (s *Storage) CollectOn(ctx context.Context, schedule Schedule, log *slog.Logger) {
	for {
		timer := time.NewTimer(s.due(schedule))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if s.due(schedule) > 0 {
			continue // another configuration's collector, or a command, was faster
		}
		if _, err := s.collect(ctx, false); err != nil && ctx.Err() == nil {
			log.Error("collection ended early", "error", err)
		}
	}
}

// announceLook is how often keys are checked for an end that is near.
const announceLook = time.Hour

// AnnounceKeys calls announce for each key that ends soon, once a day, until ctx ends.
func (s *Storage) AnnounceKeys(ctx context.Context, announce func(identity.Key)) {
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	for {
		keys, err := s.keysToAnnounce(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("recording key announcements failed; keys are announced again after a restart", "error", err)
		}
		if err == nil {
			observe.Succeeded(observe.TaskAnnounce)
		}
		for _, key := range keys {
			announce(key)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
