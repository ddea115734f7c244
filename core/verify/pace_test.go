package verify_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/verify"
)

// ledger notes when how much was read of the tree of private images.
type ledger struct {
	verify.Store
	mu    sync.Mutex // guards reads
	reads []reading
}

type reading struct {
	at    time.Time
	bytes int
}

func (l *ledger) Open(ctx context.Context, d digest.Digest) (bucket.Object, error) {
	o, err := l.Store.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	return &noted{o, l}, nil
}

type noted struct {
	bucket.Object
	ledger *ledger
}

func (n *noted) Read(p []byte) (int, error) {
	m, err := n.Object.Read(p)
	n.ledger.mu.Lock()
	defer n.ledger.mu.Unlock()
	n.ledger.reads = append(n.ledger.reads, reading{time.Now(), m})
	return m, err
}

// total is how much was read from some moment on.
func (l *ledger) total(since time.Time) (bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.reads {
		if !r.at.Before(since) {
			bytes += r.bytes
		}
	}
	return bytes
}

const blobSize = 3 << 20

// newLedger is a registry with a blob in private, whose readings are noted.
func newLedger(t *testing.T) (*registry, *ledger) {
	l := &ledger{}
	r := &registry{t: t, path: t.TempDir(), wrap: func(tree string, s verify.Store) verify.Store {
		if tree != private {
			return s
		}
		l.Store = s
		return l
	}}
	r.open()
	text := strings.Repeat("x", blobSize)
	must(t, pushBlob(r.trees[private], "team/app", digest.FromString(text), text))
	return r, l
}

func TestNoRunReadsFasterThanTheRate(t *testing.T) {
	for _, rate := range []int64{64 << 10, 1 << 20, 20 << 20} {
		synctest.Test(t, func(t *testing.T) {
			r, l := newLedger(t)
			defer r.close()
			r.SetSettings(verify.Settings{Rate: rate})
			begun := time.Now()
			both := make(chan error)
			for range 2 { // two runs have one rate
				go func() {
					_, err := r.Run(context.Background(), verify.Options{})
					both <- err
				}()
			}
			must(t, <-both, <-both)
			const step = 256 << 10
			for i, first := range l.reads {
				sum := 0
				for _, last := range l.reads[i:] {
					sum += last.bytes
					if most := float64(rate)*(last.at.Sub(first.at)+10*time.Millisecond).Seconds() + 2*step; float64(sum) > most {
						t.Fatalf("rate %d: %d bytes were read in %s", rate, sum, last.at.Sub(first.at))
					}
				}
			}
			if got, want := time.Since(begun).Seconds(), 2*float64(blobSize)/float64(rate); got < 0.9*want || got > 1.1*want+1 {
				t.Errorf("rate %d: two runs took %.2f s, want %.2f", rate, got, want)
			}
		})
	}
}

func TestAChangedRateActsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := newLedger(t)
		defer r.close()
		r.SetSettings(verify.Settings{Rate: 1 << 10})
		done := make(chan error)
		begun := time.Now()
		go func() {
			_, err := r.Run(context.Background(), verify.Options{})
			done <- err
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := l.total(begun); got > 32<<10 {
			t.Errorf("%d bytes were read in 10 s", got)
		}
		r.SetSettings(verify.Settings{Rate: 1 << 20})
		changed := time.Now()
		must(t, <-done)
		if took := time.Since(changed); took > 5*time.Second {
			t.Errorf("3 MiB at 1 MiB a second took %s", took)
		}
	})
}

func TestTheRunInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := newLedger(t)
		defer func() { r.close() }()
		const every = 7 * 24 * time.Hour
		settings := verify.Settings{Every: every, Rate: 1 << 20}
		ran := func(since time.Time) bool { return l.total(since) >= blobSize }
		begun := time.Now()
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if l.total(begun) > 0 {
			t.Fatal("it ran without being asked for")
		}
		begun = time.Now()
		r.SetSettings(settings)
		time.Sleep(time.Second)
		r.SetSettings(settings) // a reload
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := l.total(begun); got != blobSize {
			t.Fatalf("the first run has read %d bytes, want %d", got, blobSize)
		}
		finished := r.Stats().Finished
		if finished.Before(begun) {
			t.Errorf("it finished at %s", finished)
		}
		begun = time.Now()
		r.reopen()
		r.SetSettings(settings)
		if !r.Stats().Finished.Equal(finished) {
			t.Errorf("after a restart it finished at %s, want %s", r.Stats().Finished, finished)
		}
		time.Sleep(every - time.Hour)
		synctest.Wait()
		if l.total(begun) > 0 {
			t.Error("a restart has begun another run")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if !ran(begun) {
			t.Error("no second run")
		}
		// A run that was asked for and repaired takes its place.
		if _, err := r.Run(context.Background(), verify.Options{Repair: true}); err != nil {
			t.Error(err)
		}
		begun = time.Now().Add(time.Nanosecond)
		time.Sleep(every - time.Second)
		synctest.Wait()
		if l.total(begun) > 0 {
			t.Error("the run in the background came too early")
		}
		r.SetSettings(verify.Settings{}) // off
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if l.total(begun) > 0 {
			t.Error("it ran after it was turned off")
		}
	})
}

// A run that a stop cuts off goes on behind what it has read.
func TestARunGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := newLedger(t)
		defer func() { r.close() }()
		texts := map[digest.Digest]string{}
		for n := range 40 {
			text := strings.Repeat(string(rune('a'+n)), 100<<10)
			texts[digest.FromString(text)] = text
			must(t, pushBlob(r.trees[private], "team/app", digest.FromString(text), text))
		}
		settings := verify.Settings{Every: 24 * time.Hour, Rate: 100 << 10}
		begun := time.Now()
		r.SetSettings(settings)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		first := l.total(begun)
		begun = time.Now()
		r.reopen()
		r.SetSettings(settings)
		time.Sleep(time.Hour)
		synctest.Wait()
		all := blobSize + 40*100<<10
		again := first + l.total(begun) - all
		if first == 0 || first >= all || again < 0 || again > blobSize+400<<10 { // some parts at most
			t.Errorf("%d bytes before the restart and %d after it, of %d", first, l.total(begun), all)
		}
		if r.Stats().Finished.Before(begun) {
			t.Error("the run did not end")
		}
	})
}

func TestADamagedRecordOfTheLastRun(t *testing.T) {
	for name, record := range map[string]string{
		"rubbish":          "{",
		"from the future":  `{"finished":"2999-01-01T00:00:00Z"}`,
		"an unknown place": `{"started":"1999-01-01T00:00:00Z","tree":"nowhere","part":"sha256/00/"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, l := newLedger(t)
				defer func() { r.close() }()
				_, err := r.state.Put(t.Context(), verify.StateKey, []byte(record), bucket.Condition{})
				must(t, err)
				r.reopen()
				begun := time.Now()
				r.SetSettings(verify.Settings{Every: time.Hour, Rate: 1 << 20})
				time.Sleep(time.Minute)
				synctest.Wait()
				if l.total(begun) != blobSize {
					t.Errorf("%d bytes were read, want a whole run", l.total(begun))
				}
			})
		})
	}
}

func TestARunIsEnded(t *testing.T) {
	for name, end := range map[string]func(*registry, context.CancelFunc){
		"by its caller":   func(_ *registry, cancel context.CancelFunc) { cancel() },
		"by an interrupt": func(r *registry, _ context.CancelFunc) { r.Interrupt() },
		"by the close":    func(r *registry, _ context.CancelFunc) { r.Verifier.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := newLedger(t)
				defer r.close()
				r.SetSettings(verify.Settings{Rate: 1 << 10})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				done := make(chan error)
				go func() {
					_, err := r.Run(ctx, verify.Options{})
					done <- err
				}()
				time.Sleep(time.Minute)
				end(r, cancel)
				asked := time.Now()
				if err := <-done; err == nil || time.Since(asked) > time.Second {
					t.Errorf("got %v after %s", err, time.Since(asked))
				} else if name == "by its caller" && !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestThePageCacheIsLeftAsItWas(t *testing.T) {
	r := newRegistry(t)
	text := strings.Repeat("x", blobSize)
	d := digest.FromString(text)
	must(t, pushBlob(r.trees[private], "team/app", d, text))
	r.reopen()
	f, err := os.Open(r.file(private, contentKey(d)))
	must(t, err)
	defer f.Close()
	must(t, f.Sync()) // what is not on the disk cannot be dropped
	for _, hot := range []bool{true, false} {
		if !hot && !evict(t, f) {
			t.Skip("this kernel does not say what is in its page cache, or this file system keeps it there")
		}
		before, ok := cached(f)
		if !ok {
			t.Skip("this kernel does not say what is in its page cache")
		}
		r.run(verify.Options{})
		after, _ := cached(f)
		if hot && after < before/2 || !hot && after > before+blobSize/4096/4 {
			t.Errorf("hot %v: %d pages were cached before, and %d after", hot, before, after)
		}
	}
}
