package pages

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// turns bounds what pages do at once in the process. One visitor has at most half of the turns, so that
// nobody keeps them from all others. It is safe for concurrent use.
type turns struct {
	all chan struct{}

	mu sync.Mutex // guards of
	of map[string]*share
}

// share is the turns of one visitor, as long as the visitor has or waits for one.
type share struct {
	held chan struct{}
	uses int // that have or wait
}

func newTurns(most int) *turns {
	return &turns{all: make(chan struct{}, most), of: map[string]*share{}}
}

// maxWait is how long a page waits for its turn.
const maxWait = 5 * time.Second

// errTurn is the error of a page whose turn did not come. Anybody can cause it, so no log has it.
var errTurn = fmt.Errorf("%w: other pages are being composed", core.ErrUnavailable)

// take waits for a turn, which end ends. Errors: errTurn after maxWait, that of ctx.
func (t *turns) take(ctx context.Context, visitor string) (end func(), err error) {
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	enter := func(turn chan struct{}) error {
		select {
		case turn <- struct{}{}:
			return nil
		case <-wait.C:
			return errTurn
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	own := t.join(visitor)
	if err := enter(own); err != nil {
		t.leave(visitor)
		return nil, err
	}
	yield := func() {
		<-own
		t.leave(visitor)
	}
	if err := enter(t.all); err != nil {
		yield()
		return nil, err
	}
	return func() {
		<-t.all
		yield()
	}, nil
}

// join returns the turns of a visitor. leave must be called once for it.
func (t *turns) join(visitor string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[visitor]
	if s == nil {
		s = &share{held: make(chan struct{}, max(1, cap(t.all)/2))}
		t.of[visitor] = s
	}
	s.uses++
	return s.held
}

func (t *turns) leave(visitor string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.of[visitor]; s.uses > 1 {
		s.uses--
	} else {
		delete(t.of, visitor)
	}
}

// take waits for a turn of the visitor. See turns.take.
func (s *Site) take(ctx context.Context, t *turns) (end func(), err error) {
	return t.take(ctx, core.Access{Caller: s.Who.User, Address: s.Who.Address}.Principal())
}

// large lets two large manifests be on pages at once: to compose one of 4 MiB takes up to a second of
// the processor's time, and several times its size.
var large = newTurns(2)

// largeManifest is the size from which a manifest is large, in bytes. Those of images have a few KB.
const largeManifest = 256 << 10

// isLarge reports whether the manifest of a row is large, or may be.
func isLarge(row core.ImageRow) bool {
	return row.Digest != "" && (!row.Described || row.Size > largeManifest)
}
