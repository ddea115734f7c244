package health

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// look is something that takes the disk, done for all who ask: its outcome holds for a
// while, and at most one runs at a time. One that hangs, as on a network file system whose
// server is gone, is left alone: it ends when the disk answers, and nobody waits for it
// longer than patience.
type look[T any] struct {
	run func() T
	// fresh is how long an outcome holds.
	fresh time.Duration

	mu    sync.Mutex // guards what follows
	begun time.Time  // of the run under way
	done  chan struct{}
	last  *outcome[T] // nil: none has ended
}

// outcome is what a run found, and when it ended.
type outcome[T any] struct {
	found T
	at    time.Time
}

// patience bounds how long a question waits for the disk. A local disk that needs longer
// for a few bytes fails its clients, too.
const patience = 5 * time.Second

// get returns the last outcome if it is fresh, and otherwise that of a run which begins
// now or is under way. Errors: the run takes longer than patience, or ctx has ended.
func (l *look[T]) get(ctx context.Context) (outcome[T], error) {
	l.mu.Lock()
	if l.done == nil {
		if l.last != nil && time.Since(l.last.at) < l.fresh {
			defer l.mu.Unlock()
			return *l.last, nil
		}
		l.begun, l.done = time.Now(), make(chan struct{})
		go l.look(l.done)
	}
	begun, done := l.begun, l.done
	l.mu.Unlock()

	timer := time.NewTimer(patience - time.Since(begun))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		return outcome[T]{}, fmt.Errorf("timed out: the disk has not answered for %s", time.Since(begun).Round(time.Second))
	case <-ctx.Done():
		return outcome[T]{}, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.last, nil
}

// look runs once. It outlives the request that began it.
func (l *look[T]) look(done chan struct{}) {
	found := l.run()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.done = &outcome[T]{found, time.Now()}, nil
	close(done)
}

// peek returns the last outcome, however old, or nil.
func (l *look[T]) peek() *outcome[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
