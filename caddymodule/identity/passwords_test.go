package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// slowly is a comparer that takes a second of the clock for each comparison, on one
// core. It counts those that began.
func slowly(t *testing.T, users ...LocalUser) (*Locals, *comparer) {
	t.Helper()
	l, c := locals(nil, users...)
	l.passwords.cores = 1
	c.before = func() { time.Sleep(time.Second) }
	return l, c
}

// begun is how many comparisons have begun since it was asked last.
func (c *comparer) begun() int { return len(c.made()) }

// flood keeps guessing until stop, from as many connections as there are guessers. A
// guesser that is refused comes again in a moment.
func flood(l *Locals, guessers int, guess func(guesser, n int) Credential) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range guessers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := l.authenticate(ctx, guess(i, n)); errors.Is(err, core.ErrTooManyRequests) {
					time.Sleep(250 * time.Millisecond)
				}
			}
		})
	}
	return func() { cancel(); all.Wait(); time.Sleep(time.Minute) } // for what still runs
}

// Floods that a guesser can make, and users who can sign in nevertheless.
func TestNobodyLocksOthersOutByGuessing(t *testing.T) {
	everywhere := func(i int) string { return fmt.Sprintf("198.51.%d.%d", i/250, i%250) }
	floods := []struct {
		name  string
		guess func(i, n int) Credential
		// warm is how many seconds it takes until the flood has failed everywhere: new callers
		// within them may be refused, because they cannot be distinguished from the flood.
		warm int
	}{
		{"one user from one address", func(i, n int) Credential {
			return password("ada", fmt.Sprint("guess", i, n), "192.0.2.1")
		}, 1},
		{"many users from one address", func(i, n int) Credential {
			return password(fmt.Sprint("user", i, n), "guess", "192.0.2.1")
		}, 2 * maxFailingNames},
		{"one user from many addresses", func(i, n int) Credential {
			return password("ada", fmt.Sprint("guess", n), everywhere(i))
		}, 90},
		{"one user from many addresses of one IPv6 network", func(i, n int) Credential {
			return password("ada", fmt.Sprint("guess", i, n), fmt.Sprintf("2001:db8:1:1::%x:%x", i, n%65536))
		}, 1},
		{"names that are there from one address", func(i, n int) Credential {
			return password([]string{"ada", "erich"}[n%2], fmt.Sprint("guess", i, n), "192.0.2.1")
		}, 10},
	}
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				carol := LocalUser{"carol", "hash of tr0ub4dor", nil}
				dave := LocalUser{"dave", "hash of open sesame", nil}
				l, c := slowly(t, erich, ada, carol, dave)
				in := func(what string, who Credential, most int) {
					t.Helper()
					c.begun()
					if _, err := l.authenticate(t.Context(), who); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					if got := c.begun(); got > most {
						t.Errorf("%s: %d comparisons began, want %d at most", what, got, most)
					}
				}
				in("before the flood", password("ada", "battery staple", "192.0.2.1"), 1)
				stop := flood(l, 60, f.guess)
				defer stop()
				// New, of another user, while the flood is young. Its failures of the same
				// user from many addresses are not known yet, and leave room.
				time.Sleep(time.Second + time.Millisecond)
				in("of another user at once", password("dave", "open sesame", "203.0.113.5"), maxBefore+1)
				for range 3 {
					time.Sleep(time.Duration(f.warm)*time.Second + time.Millisecond)
					// Right within a day: from the address of the flood, and from elsewhere.
					in("known, from the flood's address", password("ada", "battery staple", "192.0.2.1"), 0)
					in("known, from elsewhere", password("ada", "battery staple", "203.0.113.9"), 0)
				}
				// New, from an address without guesses.
				in("new, from elsewhere", password("carol", "tr0ub4dor", "203.0.113.9"), maxBefore+1)
				// New, by another name than the flood's at the flood's address.
				if f.name != "many users from one address" {
					in("new, from the flood's address", password("carol", "tr0ub4dor", "192.0.2.1"), maxBefore+1)
				}
				time.Sleep(time.Minute)
				in("erich, after minutes of it", password("erich", "correct horse", "203.0.113.7"), maxBefore+1)
				l.passwords.mu.Lock()
				defer l.passwords.mu.Unlock()
				if n := len(l.passwords.attempts); n > maxBefore+maxLast+maxComparing {
					t.Errorf("%d comparisons wait or run", n)
				}
			})
		})
	}
}

// The queue is bounded for all callers, and refused requests learn when to try again.
func TestTheQueuesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich)
		c.before = func() { time.Sleep(9 * time.Second) }
		var all sync.WaitGroup
		var mu sync.Mutex
		shed, began := 0, time.Now()
		for i := range 1000 {
			all.Go(func() {
				_, err := l.authenticate(context.Background(), password("erich", "guess", fmt.Sprintf("192.0.%d.%d", i/250, i%250)))
				_ = err
			})
			all.Go(func() {
				_, err := l.authenticate(context.Background(), password("erich", fmt.Sprint("guess", i), fmt.Sprintf("198.51.%d.%d", i/250, i%250)))
				if errors.Is(err, core.ErrTooManyRequests) && time.Since(began) == 0 {
					if core.Retry(err).Before(time.Now().Add(time.Second)) {
						t.Errorf("told to come at %s", core.Retry(err))
					}
					mu.Lock()
					shed++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		p := l.passwords
		p.mu.Lock()
		if len(p.queues[fresh])-1+p.cores > maxBefore || len(p.queues[last]) > maxLast {
			t.Errorf("%d and %d wait", len(p.queues[fresh]), len(p.queues[last]))
		}
		held := len(p.attempts)
		p.mu.Unlock()
		if want := 1001 - held; shed != want {
			t.Errorf("%d were refused at once, want %d", shed, want)
		}
		all.Wait()
		time.Sleep(time.Minute) // for what still runs
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.attempts) != 0 || len(p.running) != 0 || len(p.queues[fresh]) != 0 || len(p.queues[last]) != 0 {
			t.Error("something is left in the queues")
		}
	})
}

// A pair that fails is late, each time later, and a right password of it is taken.
func TestFailuresDelayTheirPairAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich, ada)
		c.before = nil
		try := func(user, secret, address string) (time.Duration, error) {
			began := time.Now()
			_, err := l.authenticate(t.Context(), password(user, secret, address))
			return time.Since(began), err
		}
		for n, want := range []time.Duration{0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000} {
			took, err := try("erich", fmt.Sprint("guess", n), "a")
			if took != want*time.Millisecond || !errors.Is(err, ErrUnknownKind) {
				t.Errorf("guess %d: %v after %s, want to be refused after %s", n+1, err, took, want*time.Millisecond)
			}
		}
		for _, other := range []struct{ user, address string }{{"erich", "b"}, {"ada", "a"}, {"nobody", "a"}} {
			if took, err := try(other.user, "guess", other.address); took != 0 || !errors.Is(err, ErrUnknownKind) {
				t.Errorf("%s from %s: %v after %s", other.user, other.address, err, took)
			}
		}
		// The same wrong password again does not count as a guess, and costs nothing.
		for range 100 {
			if took, err := try("erich", "guess3", "a"); took != 0 || !errors.Is(err, ErrUnknownKind) {
				t.Errorf("again: %v after %s", err, took)
			}
		}
		if took, err := try("erich", "correct horse", "a"); took != 8*time.Second || err != nil {
			t.Errorf("the right password: %v after %s, want it to be taken after its delay", err, took)
		}
		if took, err := try("erich", "mistyped", "a"); took != 0 || !errors.Is(err, ErrUnknownKind) {
			t.Errorf("a mistake after that: %v after %s", err, took)
		}
		time.Sleep(failingFor)
		for n := range allowedFailures {
			if took, err := try("erich", fmt.Sprint("later", n), "a"); took != 0 || !errors.Is(err, ErrUnknownKind) {
				t.Errorf("an hour later: %v after %s", err, took)
			}
		}
	})
}

// Several guesses of a pair at once must not pay for one failure.
func TestGuessesAtOnceAreDelayedAsGuessesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich)
		l.passwords.cores = 4
		for range 4 { // until the pair has a delay
			for n := range allowedFailures {
				l.authenticate(t.Context(), password("erich", fmt.Sprint("guess", n), "a"))
			}
		}
		c.begun()
		stop := flood(l, 100, func(i, n int) Credential { return password("erich", fmt.Sprint("g", i, n), "a") })
		time.Sleep(time.Minute)
		stop()
		if got := c.begun(); got < 5 || got > 12 {
			t.Errorf("%d guesses of a pair were compared in a minute", got)
		}
	})
}

func TestWhoLeavesIsNotComparedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich)
		c.before = func() { time.Sleep(time.Hour) }
		go l.authenticate(context.Background(), password("erich", "slow", "a"))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		for range 2 { // of two who wait for one comparison
			go func() {
				_, err := l.authenticate(ctx, password("erich", "one", "b"))
				left <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		}
		began := time.Now()
		_, err := l.authenticate(t.Context(), password("erich", "two", "c"))
		if !errors.Is(err, core.ErrTooManyRequests) || core.Retry(err).IsZero() || time.Since(began) != maxTurn {
			t.Errorf("got %v after %s, want to be told to come later after %s", err, time.Since(began), maxTurn)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		l.passwords.mu.Lock()
		defer l.passwords.mu.Unlock()
		if got := c.begun(); got != 1 || len(l.passwords.attempts) != 0 {
			t.Errorf("%d comparisons were made, want 1; %d are left", got, len(l.passwords.attempts))
		}
	})
}

// On a slow machine, a password whose comparison has begun is not refused.
func TestAComparisonThatHasBegunIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich)
		c.before = func() { time.Sleep(3 * maxTurn) }
		if who, err := l.authenticate(t.Context(), password("erich", "correct horse", "a")); err != nil || who.Identity.User != "erich" {
			t.Errorf("got %v, %v; want erich", who, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*maxTurn)
		defer cancel()
		if _, err := l.authenticate(ctx, password("ada", "battery staple", "a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that left got %v", err)
		}
		time.Sleep(2 * maxTurn) // until that comparison has ended
		synctest.Wait()
	})
}

// A caller that waits among the failing ones does not stay there when the same password arrives
// from an address without failures.
func TestARightPasswordMovesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := slowly(t, erich)
		for n := range 12 {
			l.authenticate(t.Context(), password("erich", fmt.Sprint("guess", n), "a"))
		}
		c.begun()
		got := make(chan error, 2)
		began := time.Now()
		for _, address := range []string{"a", "b"} {
			go func() {
				_, err := l.authenticate(t.Context(), password("erich", "correct horse", address))
				got <- err
			}()
			synctest.Wait()
		}
		for range 2 {
			if err := <-got; err != nil {
				t.Error(err)
			}
		}
		if c.begun() != 1 || time.Since(began) != time.Second {
			t.Errorf("took %s", time.Since(began))
		}
	})
}

func TestNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::1": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "@": "@",
	} {
		if got := network(address); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}
