package pulls_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/pulls"
)

const repo = "docker.io/library/nginx"

var one, two = digest.FromString("one"), digest.FromString("two")

// counting is a bucket that counts writes, and refuses them while full.
type counting struct {
	bucket.Bucket
	mu   sync.Mutex
	puts int
	full bool
}

func (c *counting) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	c.mu.Lock()
	c.puts++
	full := c.full
	c.mu.Unlock()
	if full {
		return bucket.Info{}, bucket.ErrNoSpace
	}
	return c.Bucket.Put(ctx, key, data, cond)
}

func (c *counting) set(full bool) (puts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = full
	return c.puts
}

func open(t *testing.T) *counting {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	b, err := storage.Bucket("mirrors")
	if err != nil {
		t.Fatal(err)
	}
	return &counting{Bucket: b}
}

func check(t *testing.T, times *pulls.Times, want map[digest.Digest]time.Time) {
	t.Helper()
	got, err := times.Of(context.Background(), repo)
	if err != nil || !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestTimesAreWrittenBehindAndSurvive(t *testing.T) {
	b := open(t)
	synctest.Test(t, func(t *testing.T) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		begun := time.Now()
		for range 1000 {
			times.Mark(repo, one)
			times.Mark(repo, two)
		}
		if n := b.set(false); n != 0 {
			t.Errorf("%d writes on the path of pulls, want none", n)
		}
		check(t, times, map[digest.Digest]time.Time{one: begun, two: begun})

		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.set(false); n != 1 {
			t.Errorf("%d writes after a minute, want one for the repository", n)
		}
		// What a killed process leaves is what was written.
		killed := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		check(t, killed, map[digest.Digest]time.Time{one: begun, two: begun})
		if err := killed.Close(); err != nil {
			t.Error(err)
		}

		b.set(true)
		later := time.Now()
		times.Mark(repo, two)
		time.Sleep(time.Hour)
		synctest.Wait()
		check(t, times, map[digest.Digest]time.Time{one: begun, two: later})
		b.set(false)
		if err := times.Close(); err != nil {
			t.Error(err)
		}

		again := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		check(t, again, map[digest.Digest]time.Time{one: begun, two: later})
		if err := again.Retain(t.Context(), repo, func(d digest.Digest) bool { return d == two }); err != nil {
			t.Error(err)
		}
		check(t, again, map[digest.Digest]time.Time{two: later})
		if err := errors.Join(again.Retain(t.Context(), repo, func(digest.Digest) bool { return false }), again.Close()); err != nil {
			t.Error(err)
		}
		for name, err := range again.Repositories(t.Context()) {
			t.Errorf("%s, %v is left of nothing", name, err)
		}
	})
}

func TestADamagedObjectIsBegunAgain(t *testing.T) {
	b := open(t)
	if _, err := b.Put(t.Context(), "pulls/"+repo+"/_pulls", []byte(`{"manifests":7`), bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
	times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
	times.Mark(repo, one)
	if err := times.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := times.Of(t.Context(), repo)
	if err != nil || len(got) != 1 || got[one].IsZero() {
		t.Errorf("got %v, %v", got, err)
	}
}
