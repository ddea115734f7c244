package budget

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// acquire reserves, and fails the test if that is refused.
func acquire(t *testing.T, b *Budget, caller string, n int64) (release func()) {
	t.Helper()
	release, err := b.Acquire(t.Context(), caller, n)
	if err != nil {
		t.Fatalf("%s, %d bytes: %v", caller, n, err)
	}
	return release
}

func TestEachCallerHasAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, 25)
		first := acquire(t, b, "ada", 25)
		if got := b.Used(); got != 25 {
			t.Errorf("%d bytes are used, want 25", got)
		}
		begun := time.Now()
		_, err := b.Acquire(t.Context(), "ada", 1)
		if !errors.Is(err, core.ErrTooManyRequests) || core.Retry(err).IsZero() {
			t.Errorf("beyond the part: got %v, want ErrTooManyRequests with a time", err)
		}
		if took := time.Since(begun); took != patience {
			t.Errorf("waited %v, want %v", took, patience)
		}
		// Others are not held up, and one that waits gets what comes back.
		acquire(t, b, "eve", 25)()
		got := make(chan error, 1)
		go func() {
			release, err := b.Acquire(t.Context(), "ada", 20)
			if err == nil {
				defer release()
			}
			got <- err
		}()
		synctest.Wait()
		first()
		if err := <-got; err != nil {
			t.Errorf("one that waited: %v", err)
		}
		synctest.Wait() // until it has given back what it got
		if got := b.Used(); got != 0 {
			t.Errorf("%d bytes are used, want none", got)
		}
		if len(b.by) != 0 {
			t.Errorf("%d callers are remembered that hold nothing", len(b.by))
		}
	})
}

func TestAllCallersShareTheWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, 25)
		var release []func()
		for _, caller := range []string{"a", "b", "c"} {
			release = append(release, acquire(t, b, caller, 25))
		}
		release = append(release, acquire(t, b, "", 25)) // the registry's own work has no part
		_, err := b.Acquire(t.Context(), "d", 1)
		if !errors.Is(err, core.ErrUnavailable) || core.Retry(err).IsZero() {
			t.Errorf("beyond the whole: got %v, want ErrUnavailable with a time", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Acquire(ctx, "d", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has left: got %v", err)
		}
		for _, f := range release {
			f()
		}
		acquire(t, b, "", 1000)() // more than there is: all there is
		acquire(t, b, "d", 1000)()
		if len(b.by) != 0 {
			t.Errorf("%d callers are remembered that hold nothing", len(b.by))
		}
	})
}

func TestNoBudgetBoundsNothing(t *testing.T) {
	acquire(t, nil, "ada", 1<<40)()
}
