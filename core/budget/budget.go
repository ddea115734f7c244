// Package budget bounds what requests hold of the process's memory at the same time: a
// sum for all of them, and a part of it for each caller, so that no caller can take what
// the others need. Waiting is bounded; then the caller is told to come again.
//
//	release, err := manifests.Acquire(ctx, access.Principal(), size)
//	if err != nil {
//		return err // ErrTooManyRequests or ErrUnavailable, with a time to come again
//	}
//	defer release()
//
// It counts bytes that are reserved and allocates nothing for them.
package budget

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/eblume/caddy-registry/core"
)

const (
	// Manifests is how many bytes of manifests are received or parsed at once. Parsing
	// takes a small multiple of a manifest's size; this leaves room for sixteen of the
	// largest.
	Manifests = 64 << 20
	// ManifestsEach is the part of it that one caller can have.
	ManifestsEach = Manifests / 4
	// Sent is how many bytes of large manifests are held while they are sent, and SentEach
	// what one caller can have of it. A client takes a manifest within milliseconds; one
	// that reads slowly keeps the bytes in memory for as long as the server in front lets it.
	Sent     = 32 << 20
	SentEach = Sent / 4
	// patience is how long a request waits for its part. Manifests are received within
	// seconds, so whoever waits longer meets a flood.
	patience = 10 * time.Second
)

// Budget is a number of bytes that requests share. It is safe for concurrent use.
type Budget struct {
	all  *semaphore.Weighted
	size int64
	each int64
	used atomic.Int64

	mu sync.Mutex        // guards by
	by map[string]*share // of callers that hold or wait for something
}

// share is what one caller can have.
type share struct {
	free  *semaphore.Weighted
	users int // requests that hold or wait; guarded by Budget.mu
}

// New makes a budget of size bytes, of which one caller can have each.
func New(size, each int64) *Budget {
	return &Budget{all: semaphore.NewWeighted(size), size: size, each: each, by: map[string]*share{}}
}

// Acquire reserves n bytes for a request of caller, and waits for them at most ten seconds.
// An empty caller is bounded by the whole alone: work of the registry itself. A request
// for more than there is gets all there is. release gives them back and is called once.
// A nil Budget gives everything.
//
// Errors: core.ErrTooManyRequests when the caller's own requests hold its part,
// core.ErrUnavailable when those of others hold the rest, ctx's own.
func (b *Budget) Acquire(ctx context.Context, caller string, n int64) (release func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	give := func() {}
	if caller != "" {
		n := min(n, b.each)
		s := b.enter(caller)
		if s.free.Acquire(wait, n) != nil {
			b.leave(caller, s)
			return nil, tooLong(ctx, core.ErrTooManyRequests, "your other requests hold all the memory that one caller can have; let them end first")
		}
		give = func() { s.free.Release(n); b.leave(caller, s) }
	}
	n = min(n, b.size)
	if b.all.Acquire(wait, n) != nil {
		give()
		return nil, tooLong(ctx, core.ErrUnavailable, "requests hold all the memory that there is for them")
	}
	b.used.Add(n)
	return func() { b.used.Add(-n); b.all.Release(n); give() }, nil
}

// TryAcquire is Acquire without waiting: ok is false where that would wait.
func (b *Budget) TryAcquire(caller string, n int64) (release func(), ok bool) {
	if b == nil {
		return func() {}, true
	}
	give := func() {}
	if caller != "" {
		n := min(n, b.each)
		s := b.enter(caller)
		if !s.free.TryAcquire(n) {
			b.leave(caller, s)
			return nil, false
		}
		give = func() { s.free.Release(n); b.leave(caller, s) }
	}
	n = min(n, b.size)
	if !b.all.TryAcquire(n) {
		give()
		return nil, false
	}
	b.used.Add(n)
	return func() { b.used.Add(-n); b.all.Release(n); give() }, true
}

// Used returns how many bytes are reserved now.
func (b *Budget) Used() int64 { return b.used.Load() }

func tooLong(ctx context.Context, err *core.Error, why string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return core.WithRetry(fmt.Errorf("%w: %s", err, why), time.Now().Add(patience))
}

func (b *Budget) enter(caller string) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.by[caller]
	if s == nil {
		s = &share{free: semaphore.NewWeighted(b.each)}
		b.by[caller] = s
	}
	s.users++
	return s
}

func (b *Budget) leave(caller string, s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(b.by, caller)
	}
}
