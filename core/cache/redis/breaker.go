package redis

import (
	"log/slog"
	"sync"
	"time"
)

// leaveAlone is how long a Redis that failed is not asked. When it is over, one
// caller finds out, and the others go on without.
const leaveAlone = 2 * time.Second

// breaker keeps callers from waiting for what failed for the one before, and tells
// the log once when Redis fails and once when it is back.
type breaker struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	down  bool
	until time.Time // nobody asks before
}

// enter tells whether Redis may be asked now.
func (b *breaker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.down {
		return true
	}
	now := time.Now()
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(leaveAlone) // this caller probes
	return true
}

// leave tells how it went: err is what kept Redis from answering.
func (b *breaker) leave(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch was := b.down; {
	case err != nil:
		b.down, b.until = true, time.Now().Add(leaveAlone)
		if !was {
			b.log.Warn("Redis does not answer; the registry goes on without it", "error", err)
		}
	case was:
		b.down = false
		b.log.Info("Redis answers again")
	}
}
