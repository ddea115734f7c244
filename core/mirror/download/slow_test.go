package download

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// A request is slow if it brings less than a quarter of what the growing end receives meanwhile,
// or has received before it began to wait for the request.
func TestARangeIsSlowBesideTheRest(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		name     string
		before   int64 // bytes that the growing end has received in ten seconds
		streamed int64 // and in the second that is measured
		took     time.Duration
		bytes    int64 // that the request brings in it
		want     bool
	}{
		{"beside a rest that is as fast", 100 * mib, 10 * mib, time.Second, 10 * mib, false},
		{"beside a rest that is four times as fast", 100 * mib, 40 * mib, time.Second, 10 * mib, false},
		{"beside a rest that is faster", 100 * mib, 41 * mib, time.Second, 10 * mib, true},
		{"beside a rest that is stuck", 100 * mib, 0, time.Second, 1, false},
		{"when both are stuck", 100 * mib, 0, time.Second, 0, false},
		{"when it is stuck", 100 * mib, 10 * mib, time.Second, 0, true},
		{"when the rest waits for it", 100 * mib, 0, 0, 10 * mib, false},
		{"when the rest waits for it, and was much faster", 100 * mib, 0, 0, 2 * mib, true},
		{"when the rest waits for it after a short while", 100 * mib, mib, time.Second / 10, 2 * mib, true},
		{"when the rest was too short to know", 0, 0, 0, 3 * mib, false},
		{"when the rest was too short to know, and little comes", 0, 0, 0, mib, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := growingTo(t, 1<<30, nil)
				if row.before > 0 {
					d.receive(0, true)
					time.Sleep(10 * time.Second)
					d.receive(int(row.before), false)
				}
				d.hasAnswered()
				d.receive(0, row.took > 0)
				time.Sleep(row.took)
				d.receive(int(row.streamed), false)
				time.Sleep(time.Second - row.took)
				d.ahead.answered.bytes += row.bytes
				if got := d.slow(time.Now()); got != row.want {
					t.Errorf("it is slow: %v, want %v", got, row.want)
				}
			})
		})
	}
}

// stuck is a body that brings one byte, and nothing more until ctx ends.
type stuck struct {
	ctx  context.Context
	sent bool
}

func (s *stuck) Read(p []byte) (int, error) {
	if !s.sent {
		s.sent = true
		return 1, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// stuckRanges gives each request a stuck body.
type stuckRanges struct{ ranges }

func (stuckRanges) Range(ctx context.Context, _ string, _ digest.Digest, _, _, _ int64) (io.ReadCloser, error) {
	return io.NopCloser(&stuck{ctx: ctx}), nil
}

// A slow request ends, and so does the second one; then no other is made.
func TestSlowRangesAreNotTriedOverAndOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := growingTo(t, 1<<30, nil)
		d.config.Source, d.config.Scratch = stuckRanges{}, oneFile{noFile{}}
		d.users++ // the reader
		f := &Follower{ctx: t.Context(), d: d, offset: 500 << 20, until: 600 << 20}
		wish := func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.wish(f)
		}
		began := time.Now()
		wish()
		d.all.background.Wait()
		if took := time.Since(began); took != 2*slowAfter || d.ahead.requests != 2 || !d.ahead.off {
			t.Errorf("%d requests took %s, off %v, want two of a second", d.ahead.requests, took, d.ahead.off)
		}
		wish()
		if d.ahead.running {
			t.Error("another request is made")
		}
	})
}

// silent never answers.
type silent struct{ ranges }

func (silent) Range(ctx context.Context, _ string, _ digest.Digest, _, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// The growing end, without a connection, waits for the request that is to bring its next byte,
// but not for an answer that does not come. Readers may have it later.
func TestTheGrowingEndDoesNotWaitForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := growingTo(t, 1<<30, nil)
		d.config.Source, d.ahead.file = silent{}, noFile{}
		want := span{100 << 20, 200 << 20}
		d.ahead.have = spans{{50 << 20, want.start}} // which it has taken
		d.ask(t, want)
		ctx, stop := context.WithCancel(t.Context())
		d.ctx = ctx
		ended := make(chan error, 1)
		go func() {
			_, err := d.fetchAhead(t.Context(), want)
			ended <- err
		}()
		began := time.Now()
		n, err := d.fromAhead(&stream{offset: want.start}, make([]byte, 1000))
		if took := time.Since(began); n != 0 || err != nil || took != slowAfter {
			t.Errorf("got %d bytes, %v after %s, want none after %s", n, err, took, slowAfter)
		}
		select {
		case err := <-ended:
			t.Errorf("the request has ended: %v", err)
		default:
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
	})
}
