package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// pulled asks for the tag, and returns what was warned of.
func (f *fixture) pulled(t *testing.T, want error) string {
	t.Helper()
	ctx, notes := core.WithNotes(fetch)
	m, err := f.Manifest(ctx, repo, latest)
	if !errors.Is(err, want) || err == nil && m.Descriptor.Digest != f.image {
		t.Errorf("got %v, %v, want %s, %v", m.Descriptor.Digest, err, f.image, want)
	}
	if err != nil && len(notes.Warnings()) > 0 {
		t.Errorf("a failure warns: %q", notes.Warnings())
	}
	return strings.Join(notes.Warnings(), "; ")
}

func since(t time.Time) string {
	return repo + ":latest is gone from its upstream since " + t.UTC().Format(time.RFC3339) + "; this is a copy"
}

// Content that the upstream has deleted is still served, as long as the upstream
// answers so to every request, whatever happens in between; a purge ends it.
func TestATagThatIsGoneIsServedOn(t *testing.T) {
	for _, kind := range []upstreamtest.Kind{upstreamtest.Open, upstreamtest.Hub, upstreamtest.GHCR} {
		synctest.Test(t, func(t *testing.T) {
			f := startAs(t, upstreamtest.Config{Kind: kind}, mirror.Settings{})
			if got := f.pulled(t, nil); got != "" {
				t.Errorf("before: warned of %q", got)
			}
			time.Sleep(mirror.DefaultTTL)
			f.up.Untag("library/nginx", "latest")
			gone := since(time.Now())
			if got := f.pulled(t, nil); got != gone {
				t.Errorf("warned of %q, want %q", got, gone)
			}
			f.up.Forget()
			if got := f.pulled(t, nil); got != gone {
				t.Errorf("within ttl: warned of %q, want %q", got, gone)
			}
			f.saw(t)
			// A caller who may not fetch gets it, too, with the warning.
			ctx, notes := core.WithNotes(context.Background())
			if _, err := f.Resolve(ctx, repo, latest); err != nil || len(notes.Warnings()) != 1 {
				t.Errorf("without fetch: %v, warned of %q", err, notes.Warnings())
			}

			// max_stale does not end it, with pulls or without, and a restart neither.
			for range 3 {
				time.Sleep(mirror.DefaultMaxStale + time.Hour)
				f.restart(t)
				if got := f.pulled(t, nil); got != gone {
					t.Errorf("later: warned of %q, want %q", got, gone)
				}
			}
			if n := strings.Count(f.log.String(), "tag is gone"); n != 1 {
				t.Errorf("the log says it %d times, want once:\n%s", n, f.log)
			}
			// An outage then is as any other.
			down := f.up.Fault(upstreamtest.Fault{Status: 503})
			time.Sleep(mirror.DefaultMaxStale - time.Hour)
			if got := f.pulled(t, nil); got != gone {
				t.Errorf("in an outage: warned of %q, want %q", got, gone)
			}
			time.Sleep(time.Hour)
			f.pulled(t, core.ErrUpstream)
			down.Lift()
			time.Sleep(upstream.DefaultBreaker)
			if got := f.pulled(t, nil); got != gone {
				t.Errorf("after an outage: warned of %q, want %q", got, gone)
			}

			// It may come back.
			f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "latest")
			time.Sleep(mirror.DefaultTTL)
			if got := f.pulled(t, nil); got != "" {
				t.Errorf("back: warned of %q", got)
			}
			f.up.Untag("library/nginx", "latest")
			time.Sleep(mirror.DefaultTTL)
			if got, want := f.pulled(t, nil), since(time.Now()); got != want {
				t.Errorf("gone again: warned of %q, want %q", got, want)
			}
			if err := f.DeleteTag(fetch, repo, "latest"); err != nil {
				t.Fatal(err)
			}
			f.pulled(t, core.ErrManifestUnknown)
			f.restart(t)
			f.pulled(t, core.ErrManifestUnknown)
		})
	}
}

// If two processes hold a tag that is gone, neither answers "not found", not even while the first
// one finds out.
func TestATagThatIsGoneIsNeverMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAs(t, upstreamtest.Config{Kind: upstreamtest.Hub}, mirror.Settings{})
		f.pulled(t, nil)
		time.Sleep(mirror.DefaultTTL)
		f.up.Untag("library/nginx", "latest")
		slow := f.up.Fault(upstreamtest.Fault{Host: "token", Hang: true})
		var clients sync.WaitGroup
		for range 3 {
			clients.Go(func() { f.pulled(t, nil) })
			synctest.Wait()
		}
		slow.Lift()
		clients.Wait()
	})
}

// A 404 of what anonymous callers may not see any more is a no.
func TestATagThatIsGoneEnds(t *testing.T) {
	missing := upstreamtest.Fault{Host: "registry", Path: "/manifests/", Status: 404}
	for _, row := range []struct {
		name  string
		kind  upstreamtest.Kind
		login bool
		drop  bool
		cause func(f *fixture)
		want  error
	}{
		{"with gone drop", upstreamtest.Open, false, true, func(f *fixture) { f.up.Untag("library/nginx", "latest") }, core.ErrManifestUnknown},
		{"when it becomes private at GHCR", upstreamtest.GHCR, false, false, func(f *fixture) { f.up.Private("library/nginx") }, core.ErrManifestUnknown},
		{"when it becomes private at Docker Hub", upstreamtest.Hub, false, false, func(f *fixture) { f.up.Private("library/nginx") }, core.ErrDenied},
		{"when it becomes private, and an old token is still told 404", upstreamtest.GHCR, false, false, func(f *fixture) {
			f.up.Private("library/nginx")
			f.up.Fault(missing)
		}, core.ErrManifestUnknown},
		{"when the credentials see that it is gone, and nobody else may look", upstreamtest.Basic, true, false,
			func(f *fixture) { f.up.Untag("library/nginx", "latest") }, core.ErrDenied},
		{"when the credentials see that it is gone, and nobody else gets a token", upstreamtest.GHCR, true, false, func(f *fixture) {
			f.up.Private("library/nginx")
			f.up.Untag("library/nginx", "latest")
		}, core.ErrManifestUnknown},
		{"when it was refused before", upstreamtest.Open, false, false, func(f *fixture) {
			refused := f.up.Fault(upstreamtest.Fault{Status: 403})
			_, _ = f.Manifest(fetch, repo, latest)
			refused.Lift()
			f.up.Untag("library/nginx", "latest")
		}, core.ErrManifestUnknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startAs(t, upstreamtest.Config{Kind: row.kind}, mirror.Settings{DropGone: row.drop})
				if row.login {
					f.config.User, f.config.Secret = "user", "secret"
				}
				f.config.Breaker = time.Millisecond
				f.restart(t)
				ctx := core.WithAccess(context.Background(), core.Access{Fetch: true, Private: true, Known: true})
				if _, err := f.Manifest(ctx, repo, latest); err != nil {
					t.Fatal(err)
				}
				time.Sleep(mirror.DefaultTTL)
				row.cause(f)
				if _, err := f.Manifest(ctx, repo, latest); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
				// And it stays ended while the upstream cannot be asked.
				f.network.Refuse(f.up.Registry, true)
				f.restart(t)
				time.Sleep(time.Minute)
				if _, err := f.Manifest(ctx, repo, latest); !errors.Is(err, core.ErrUpstream) {
					t.Errorf("in an outage: got %v, want %v", err, core.ErrUpstream)
				}
			})
		})
	}
}

// That anonymous callers get in cannot be asked: that is trouble, and no answer.
func TestATagThatMayBeGoneIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAs(t, upstreamtest.Config{Kind: upstreamtest.Hub}, mirror.Settings{})
		f.config.Breaker = time.Millisecond
		f.restart(t)
		f.pulled(t, nil)
		time.Sleep(mirror.DefaultTTL + time.Second)
		f.up.Untag("library/nginx", "latest")
		f.up.Fault(upstreamtest.Fault{Host: "token", Status: 404})
		if got := f.pulled(t, nil); got != "" {
			t.Errorf("warned of %q, though nobody knows yet", got)
		}
		time.Sleep(mirror.DefaultMaxStale)
		f.pulled(t, core.ErrUpstream)
	})
}

// The tags that are gone are counted by their records.
func TestTagsThatAreGoneAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		counted := func(want int) {
			t.Helper()
			f.restart(t) // records are written behind
			n, more, err := mirror.CountGone(t.Context(), f.full, "docker.io")
			if n != want || more || err != nil {
				t.Errorf("got %d, more %t, %v, want %d", n, more, err, want)
			}
		}
		f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "latest", "stays")
		f.pulled(t, nil)
		if _, err := f.Manifest(fetch, repo, core.Reference{Tag: "stays"}); err != nil {
			t.Fatal(err)
		}
		counted(0)
		time.Sleep(mirror.DefaultTTL)
		f.up.Untag("library/nginx", "latest")
		f.pulled(t, nil)
		counted(1)
		if n, _, err := mirror.CountGone(t.Context(), f.full, "docker"); n != 0 || err != nil {
			t.Errorf("another mirror: got %d, %v, want none", n, err)
		}
		// A record that cannot be read is learned again, and is not counted.
		damaged := "mirror/checks/docker.io/library/nginx/_tags/stays"
		if _, err := f.full.Put(t.Context(), damaged, []byte(`{"gone":"2026`), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		counted(1)
		if err := f.DeleteTag(fetch, repo, "latest"); err != nil {
			t.Fatal(err)
		}
		counted(0)
	})
}

// checks is a bucket with many records of tags that are gone.
type checks struct {
	bucket.Bucket
	n int
}

func (c checks) List(_ context.Context, prefix, _ string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		for i := range c.n {
			if !yield(bucket.Info{Key: fmt.Sprintf("%sa/_tags/%08d", prefix, i)}, nil) {
				return
			}
		}
	}
}

func (c checks) Get(context.Context, string) ([]byte, bucket.Info, error) {
	return []byte(`{"gone":"2026-11-02T00:00:00Z"}`), bucket.Info{}, nil
}

func TestCountOfTagsThatAreGoneIsBounded(t *testing.T) {
	for _, row := range []struct {
		has, want int
		more      bool
	}{{10_000, 10_000, false}, {10_001, 10_000, true}, {1 << 30, 10_000, true}} {
		n, more, err := mirror.CountGone(t.Context(), checks{n: row.has}, "docker.io")
		if n != row.want || more != row.more || err != nil {
			t.Errorf("of %d: got %d, more %t, %v, want %d, more %t", row.has, n, more, err, row.want, row.more)
		}
	}
}
