package behind

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// disk takes what is counted, unless it is full.
type disk struct {
	mu       sync.Mutex // guards what follows
	counted  int
	written  int
	writes   int
	full     bool
	warnings bytes.Buffer
}

var errFull = errors.New("no space left on device")

func (d *disk) write(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.full {
		return errFull
	}
	d.written += d.counted
	d.counted = 0
	return nil
}

// set changes what is counted and whether there is room.
func (d *disk) set(counted int, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counted, d.full = d.counted+counted, full
}

func (d *disk) start() *Writer {
	return Start(Config{
		Every: time.Minute, Write: d.write, Log: slog.New(slog.NewTextHandler(&d.warnings, nil)),
		Failed: "counts were not written",
	})
}

func (d *disk) want(t *testing.T, when string, writes, written int) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writes != writes || d.written != written {
		t.Errorf("%s: %d writes of %d in all, want %d of %d", when, d.writes, d.written, writes, written)
	}
}

func TestWhatIsCountedIsWrittenBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		w := d.start()
		d.set(3, false)
		time.Sleep(59 * time.Second)
		d.want(t, "before the first time", 0, 0)
		time.Sleep(time.Second)
		d.want(t, "after a minute", 1, 3)
		d.set(4, false)
		w.Poke()
		d.want(t, "when it was asked to", 2, 7)
		d.set(5, false)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		d.want(t, "at the end", 3, 12)
		time.Sleep(time.Hour)
		d.want(t, "after the end", 3, 12)
	})
}

func TestWhatCouldNotBeWrittenIsWrittenTheNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		d.set(3, true)
		w := d.start()
		time.Sleep(2*time.Minute + time.Second)
		d.want(t, "with a full disk", 2, 0)
		const warning = `level=WARN msg="counts were not written" error="no space left on device"`
		if got := strings.Count(d.warnings.String(), warning); got != 2 {
			t.Errorf("got %d warnings, want 2:\n%s", got, d.warnings.String())
		}
		d.set(0, false)
		time.Sleep(time.Minute)
		d.want(t, "with room again", 3, 3)
		d.set(0, true)
		if err := w.Close(); !errors.Is(err, errFull) {
			t.Errorf("got %v at the end, want what was lost", err)
		}
	})
}

// A disk that is full is not asked for room by every request that asks for a write.
func TestAFailedWriteIsTriedAgainAtItsTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		d.set(3, true)
		w := d.start()
		poke := func() {
			for range 100 {
				w.Poke()
				synctest.Wait()
			}
		}
		poke()
		d.want(t, "asked to with a full disk", 1, 0)
		time.Sleep(time.Minute)
		poke()
		d.want(t, "after a minute with a full disk", 2, 0)
		d.set(0, false)
		poke()
		d.want(t, "before the next time", 2, 0)
		time.Sleep(time.Minute)
		d.want(t, "with room again", 3, 3)
		d.set(4, false)
		w.Poke()
		d.want(t, "asked to with room", 4, 7)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The end does not wait for a write that hangs until its context ends, and does not call that
// a failure.
func TestCloseEndsAWriteThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		writes := 0
		write := func(ctx context.Context) error {
			if writes++; writes > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		w := Start(Config{Every: time.Minute, Write: write, Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := w.Close(); err != nil || writes != 2 || log.Len() > 0 {
			t.Errorf("got %v after %d writes, and logged %q", err, writes, log.String())
		}
	})
}
