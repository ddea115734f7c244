package download

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A request that is overtaken ends, even one that brings nothing.
func TestAnOvertakenRequestEnds(t *testing.T) {
	d := growingTo(t, 1<<20, nil)
	d.ahead.asked, d.ahead.running = span{100, 200}, true
	ctx, stop := context.WithCancelCause(t.Context())
	d.ahead.stop = stop
	d.space()
	d.grow(199)
	if err := context.Cause(ctx); err != nil {
		t.Errorf("before its last byte: %v", err)
	}
	d.grow(1)
	if err := context.Cause(ctx); !errors.Is(err, errOvertaken) {
		t.Errorf("got %v, want that it was overtaken", err)
	}
}

// Readers come with each piece. What all of them wait for is not looked at for each.
func TestWishesAreLookedAtRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := growingTo(t, 1<<20, nil)
		d.begun = time.Now()
		began := time.Now()
		wish := func(f *Follower, want time.Duration) {
			t.Helper()
			d.mu.Lock()
			defer d.mu.Unlock()
			d.wish(f)
			if got := d.ahead.looked.Sub(began); got != want {
				t.Errorf("they were looked at %s after the start, want %s", got, want)
			}
		}
		readers := make([]*Follower, 100)
		for i := range readers {
			readers[i] = &Follower{ctx: t.Context(), d: d, offset: 1000, until: 2000}
			wish(readers[i], 0) // a new one is looked at
		}
		time.Sleep(tellWithin / 2)
		for _, f := range readers {
			wish(f, 0)
		}
		wish(&Follower{ctx: t.Context(), d: d, offset: 1000, until: 2000}, tellWithin/2)
		time.Sleep(tellWithin / 2)
		synctest.Wait()
		for _, f := range readers {
			wish(f, tellWithin) // because of the first of those in between
		}
		time.Sleep(tellWithin - time.Nanosecond)
		for _, f := range readers {
			wish(f, tellWithin)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		for _, f := range readers {
			wish(f, 2*tellWithin)
		}
	})
}
