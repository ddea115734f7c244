package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// In a bubble time passes only while all goroutines wait, so the measured times
// are exact.
func bubble(t *testing.T, kind upstreamtest.Kind, configure func(*upstream.Config), test func(*testing.T, *fixture, *upstreamtest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := upstreamtest.NewNetwork()
		test(t, start(t, upstreamtest.Config{Kind: kind, Network: network}, configure), network)
	})
}

func TestFailureTakes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause func(*fixture, *upstreamtest.Network)
		get   bool
		want  time.Duration
		err   error
	}{
		{"the head timeout of an upstream that hangs", func(f *fixture, _ *upstreamtest.Network) { f.Fault(upstreamtest.Fault{Hang: true}) },
			false, upstream.DefaultHeadTimeout, upstream.ErrTimeout},
		{"the head timeout of a token endpoint that hangs", func(f *fixture, _ *upstreamtest.Network) {
			f.Fault(upstreamtest.Fault{Host: "token", Hang: true})
		}, false, upstream.DefaultHeadTimeout, upstream.ErrTimeout},
		{"the stall timeout of an upstream that hangs", func(f *fixture, _ *upstreamtest.Network) { f.Fault(upstreamtest.Fault{Hang: true}) },
			true, upstream.DefaultStallTimeout, upstream.ErrTimeout},
		{"the stall timeout of an upstream that stops", func(f *fixture, _ *upstreamtest.Network) {
			f.Fault(upstreamtest.Fault{Path: "/manifests/", Stall: true, After: 10})
		}, true, upstream.DefaultStallTimeout, upstream.ErrTimeout},
		{"the connect timeout of a black hole", func(f *fixture, n *upstreamtest.Network) { n.BlackHole(f.Registry, true) },
			true, upstream.DefaultConnectTimeout, upstream.ErrTimeout},
		{"no time of a refused connection", func(f *fixture, n *upstreamtest.Network) { n.Refuse(f.Registry, true) },
			true, 0, upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Hub, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				if !strings.Contains(tt.name, "token") {
					if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
						t.Fatal(err) // the token is there
					}
					_ = f.client.Close()
				}
				tt.cause(f, n)
				began := time.Now()
				ask := f.client.Head
				if tt.get {
					ask = f.client.Manifest
				}
				_, err := ask(t.Context(), repo, tag)
				if got := time.Since(began); !errors.Is(err, tt.err) || got != tt.want {
					t.Errorf("got %v after %s, want %v after %s", err, got, tt.err, tt.want)
				}
				// The second caller does not wait for the same failure.
				f.Forget()
				began = time.Now()
				_, err = f.client.Head(t.Context(), repo, tag)
				var e *upstream.Error
				if !errors.As(err, &e) || !e.Skipped || !errors.Is(err, tt.err) || time.Since(began) != 0 {
					t.Errorf("the second caller got %v after %s, want %v at once", err, time.Since(began), tt.err)
				}
				f.saw(t)
			})
		})
	}
}

func TestSlowIsNotStalled(t *testing.T) {
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
		f.Fault(upstreamtest.Fault{Path: "/blobs/", Pause: upstream.DefaultStallTimeout - time.Second})
		if got, _, err := readBlob(t.Context(), f.client, f.blob, 0); err != nil || len(got) != len(layer) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(layer))
		}
	})
}

func TestBreaker(t *testing.T) {
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		f.Manifest("other", index, document, tag.Tag)
		down := f.Fault(upstreamtest.Fault{Status: 503})
		head := func(repo string) error {
			_, err := f.client.Head(t.Context(), repo, tag)
			return err
		}
		if err := head(repo); !errors.Is(err, upstream.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, upstream.ErrUnavailable)
		}
		_ = head("other")
		f.saw(t, headTag) // and nothing of the other repository

		// Half open: of many callers one finds out, and the rest do not wait.
		time.Sleep(upstream.DefaultBreaker)
		f.Forget()
		down.Lift()
		hang := f.Fault(upstreamtest.Fault{Hang: true, Times: 1})
		var callers sync.WaitGroup
		var skipped, good int
		var mu sync.Mutex
		for range 10 {
			callers.Go(func() {
				err := head(repo)
				mu.Lock()
				defer mu.Unlock()
				var e *upstream.Error
				if errors.As(err, &e) && e.Skipped {
					skipped++
				} else if err == nil {
					good++
				}
			})
		}
		synctest.Wait()
		hang.Lift()
		callers.Wait()
		if skipped != 9 || good != 1 {
			t.Errorf("got %d skipped and %d good, want 9 and 1", skipped, good)
		}
		f.saw(t, headTag)
		if err := head("other"); err != nil {
			t.Errorf("got %v after the probe, want none", err)
		}
	})
}

func TestBreakerStaysClosed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault upstreamtest.Fault
	}{
		{"for another repository after a 500", upstreamtest.Fault{Status: 500}},
		{"after a 404", upstreamtest.Fault{Status: 404}},
		{"after a 403", upstreamtest.Fault{Status: 403}},
		{"after a redirect to a host that fails", upstreamtest.Fault{Status: 307, Header: header("Location", "http://nowhere.test/")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
				f.Manifest("other", index, document, tag.Tag)
				tt.fault.Times = 1
				f.Fault(tt.fault)
				if _, err := f.client.Head(t.Context(), repo, tag); err == nil {
					t.Fatal("got no error, want one")
				}
				if _, err := f.client.Head(t.Context(), "other", tag); err != nil {
					t.Errorf("got %v, want none", err)
				}
			})
		})
	}
	t.Run("after a caller that left", func(t *testing.T) {
		bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
			f.Fault(upstreamtest.Fault{Hang: true, Times: 1})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := f.client.Head(ctx, repo, tag); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, upstream.ErrTimeout) {
				t.Errorf("got %v, want the caller's own deadline", err)
			}
			if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	})
}

func TestRateLimitIsObeyed(t *testing.T) {
	const pull = `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`
	for _, tt := range []struct {
		name    string
		after   string
		body    string
		want    time.Duration
		headTo  bool // HEAD is still asked
		pulling bool
	}{
		{"of requests, for as long as it says", "120", "", 120 * time.Second, false, false},
		{"of requests, that does not say", "", "", upstream.DefaultBreaker, false, false},
		{"of requests, by a date", "DATE", "", 90 * time.Second, false, false},
		{"of requests, at most six hours", "99999999", "", 6 * time.Hour, false, false},
		{"of pulls, under which HEAD is free", "600", pull, 600 * time.Second, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
				after := tt.after
				if after == "DATE" {
					after = time.Now().Add(tt.want).UTC().Format(http.TimeFormat)
				}
				fault := upstreamtest.Fault{Times: 1, Status: 429, Body: tt.body}
				if after != "" {
					fault.Header = header("Retry-After", after)
				}
				f.Fault(fault)
				began := time.Now()
				_, err := f.client.Manifest(t.Context(), repo, tag)
				var e *upstream.Error
				if !errors.As(err, &e) || !errors.Is(err, upstream.ErrRateLimited) || e.PullLimit != tt.pulling {
					t.Fatalf("got %v, want %v, of pulls %t", err, upstream.ErrRateLimited, tt.pulling)
				}
				if got := e.Until.Sub(began); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				f.Forget()
				time.Sleep(tt.want - time.Second)
				if _, err := f.client.Manifest(t.Context(), repo, tag); !errors.Is(err, upstream.ErrRateLimited) {
					t.Errorf("got %v a second before, want %v", err, upstream.ErrRateLimited)
				}
				if _, err := f.client.Head(t.Context(), repo, tag); (err == nil) != tt.headTo {
					t.Errorf("HEAD: got %v, want an answer: %t", err, tt.headTo)
				}
				time.Sleep(time.Second)
				if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
					t.Errorf("got %v when it is over, want none", err)
				}
			})
		})
	}
}

func TestOneTokenForAllWhoWait(t *testing.T) {
	bubble(t, upstreamtest.Hub, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
		tokens := func() (n int) {
			for _, r := range f.Recorded() {
				if r.Host == "token" {
					n++
				}
			}
			return n
		}
		crowd := func() {
			var callers sync.WaitGroup
			for range 50 {
				callers.Go(func() {
					if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
						t.Error(err)
					}
				})
			}
			callers.Wait()
		}
		crowd()
		if got := tokens(); got != 1 {
			t.Errorf("got %d token requests for 50 cold callers, want 1", got)
		}
		time.Sleep(269 * time.Second)
		crowd()
		if got := tokens(); got != 1 {
			t.Errorf("got %d token requests while the token is good, want 1", got)
		}
		// 30 s before it expires, so that none expires on its way.
		f.Forget()
		time.Sleep(time.Second)
		crowd()
		if got := tokens(); got != 1 {
			t.Errorf("got %d token requests for 50 callers at the end, want 1", got)
		}
		for _, r := range f.Requests() {
			if r == headTag {
				t.Error("a request went without its token")
			}
		}
		// A token that is no longer accepted is replaced at once.
		f.Revoke()
		f.Forget()
		if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
			t.Error(err)
		}
		f.saw(t, headTag+" bearer", "token GET /token", headTag+" bearer")
	})
}

func TestTokenOutlivesTheCallerWhoAskedFirst(t *testing.T) {
	bubble(t, upstreamtest.Hub, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
		slow := f.Fault(upstreamtest.Fault{Host: "token", Hang: true, Times: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := f.client.Head(ctx, repo, tag); !errors.Is(err, context.Canceled) {
				t.Errorf("the first got %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		both.Go(func() {
			if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
				t.Errorf("the second got %v, want none", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		slow.Lift()
		both.Wait()
	})
}

func TestURLsShareTheHeadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := upstreamtest.NewNetwork()
		second := upstreamtest.New(t, upstreamtest.Config{Network: network, Name: "second.test"})
		second.Manifest(repo, index, document, tag.Tag)
		f := start(t, upstreamtest.Config{Network: network}, func(c *upstream.Config) { c.URLs = append(c.URLs, second.URL) })
		f.Fault(upstreamtest.Fault{Hang: true})
		began := time.Now()
		_, err := f.client.Head(t.Context(), repo, tag)
		if got, want := time.Since(began), upstream.DefaultHeadTimeout/2; err != nil || got != want {
			t.Errorf("got %v after %s, want an answer after %s", err, got, want)
		}
		began = time.Now()
		if _, err := f.client.Head(t.Context(), repo, tag); err != nil || time.Since(began) != 0 {
			t.Errorf("got %v after %s from the second URL, want an answer at once", err, time.Since(began))
		}
	})
}

func TestUnavailableForAsLongAsItSays(t *testing.T) {
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
		f.Fault(upstreamtest.Fault{Times: 1, Status: 503, Header: header("Retry-After", "300")})
		for _, after := range []time.Duration{0, 299 * time.Second} {
			time.Sleep(after)
			if _, err := f.client.Head(t.Context(), repo, tag); !errors.Is(err, upstream.ErrUnavailable) {
				t.Errorf("got %v, want %v", err, upstream.ErrUnavailable)
			}
		}
		f.saw(t, headTag)
		time.Sleep(time.Second)
		if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
			t.Errorf("got %v when it is over, want none", err)
		}
	})
}

// GHCR refuses a token for missing content; that must not be remembered longer
// than the mirror wants.
func TestRefusedTokenIsNotRemembered(t *testing.T) {
	bubble(t, upstreamtest.GHCR, with("user", "secret"), func(t *testing.T, f *fixture, _ *upstreamtest.Network) {
		if _, err := f.client.Head(t.Context(), "team/new", tag); !errors.Is(err, upstream.ErrNotFound) {
			t.Fatalf("got %v, want %v", err, upstream.ErrNotFound)
		}
		f.Manifest("team/new", index, document, tag.Tag)
		f.Private("team/new")
		if _, err := f.client.Head(t.Context(), "team/new", tag); err != nil {
			t.Errorf("got %v for what is there now, want none", err)
		}
	})
}
