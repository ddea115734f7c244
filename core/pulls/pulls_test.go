package pulls_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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

// counting is a bucket that counts writes and the bytes of the largest, and refuses
// everything but reading from the failing-th change on.
type counting struct {
	bucket.Bucket
	mu      sync.Mutex
	puts    int
	largest int
	full    bool
	changes int
	failAt  int // 0: never
}

func (c *counting) change() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	if c.full || c.failAt > 0 && c.changes >= c.failAt {
		return bucket.ErrNoSpace
	}
	return nil
}

func (c *counting) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	c.mu.Lock()
	c.puts++
	c.largest = max(c.largest, len(data))
	c.mu.Unlock()
	if err := c.change(); err != nil {
		return bucket.Info{}, err
	}
	return c.Bucket.Put(ctx, key, data, cond)
}

func (c *counting) Delete(ctx context.Context, key string) error {
	if err := c.change(); err != nil {
		return err
	}
	return c.Bucket.Delete(ctx, key)
}

func (c *counting) Sync(ctx context.Context, keys ...string) error {
	if err := c.change(); err != nil {
		return err
	}
	return bucket.Sync(ctx, c.Bucket, keys...)
}

func (c *counting) set(full bool) (puts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = full
	return c.puts
}

// crashAt lets the n-th change from now on fail, and all that follow; 0: none.
func (c *counting) crashAt(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes, c.failAt = 0, n
}

func (c *counting) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failAt > 0 && c.changes >= c.failAt
}

func (c *counting) keys(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	for info, err := range c.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// withBucket runs a test in fake time, with a bucket.
func withBucket(t *testing.T, test func(t *testing.T, b *counting)) {
	t.Helper()
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		storage, err := dir.Open(path, dir.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := storage.Close(); err != nil {
				t.Error(err)
			}
		}()
		b, err := storage.Bucket("mirrors")
		if err != nil {
			t.Fatal(err)
		}
		test(t, &counting{Bucket: b})
	})
}

func check(t *testing.T, times *pulls.Times, want map[digest.Digest]time.Time) {
	t.Helper()
	got, err := times.Of(context.Background(), repo)
	if err != nil || !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// counts checks how often each was pulled, by "one", "two" or a tag's name.
func counts(t *testing.T, times *pulls.Times, repo string, want map[string]int64) {
	t.Helper()
	record, err := times.Record(context.Background(), repo)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for d, c := range record.Manifests {
		got[map[digest.Digest]string{one: "one", two: "two"}[d]] += c.N
	}
	for tag, c := range record.Tags {
		got[tag] += c.N
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func all(digest.Digest) bool { return true }

func TestPullsAreWrittenBehindAndSurvive(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		begun := time.Now()
		for range 1000 {
			times.Mark(repo, one, "latest", "")
			times.Mark(repo, two, "", "")
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
		// A killed process leaves the marks that were written.
		killed := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		check(t, killed, map[digest.Digest]time.Time{one: begun, two: begun})
		counts(t, killed, repo, map[string]int64{"one": 1000, "two": 1000, "latest": 1000})
		if err := killed.Close(); err != nil {
			t.Error(err)
		}

		b.set(true)
		later := time.Now()
		times.Mark(repo, two, "", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		check(t, times, map[digest.Digest]time.Time{one: begun, two: later})
		b.set(false)
		if err := times.Close(); err != nil {
			t.Error(err)
		}

		again := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		defer again.Close()
		check(t, again, map[digest.Digest]time.Time{one: begun, two: later})
		counts(t, again, repo, map[string]int64{"one": 1000, "two": 1001, "latest": 1000})
	})
}

func TestDaysAreFoldedWhenTheyAreOver(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		fold := func(times *pulls.Times, keep pulls.Keep) {
			t.Helper()
			if err := times.Fold(t.Context(), repo, keep); err != nil {
				t.Error(err)
			}
		}
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		other := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"}) // another process
		for range 3 {
			times.Mark(repo, one, "v1", "")
			other.Mark(repo, two, "v1", "")
			time.Sleep(time.Minute)
			fold(times, pulls.Keep{}) // of today nothing
			if keys := b.keys(t, "pulls/"); len(keys) != 2 || !strings.Contains(keys[0], "/_days/2000-01-01+") {
				t.Fatalf("got %q, want an object of each process", keys)
			}
		}
		time.Sleep(25 * time.Hour)
		last := time.Now()
		times.Mark(repo, two, "v2", "")
		want := map[string]int64{"one": 3, "two": 4, "v1": 6, "v2": 1}
		counts(t, times, repo, want)
		time.Sleep(time.Minute)
		fold(times, pulls.Keep{})
		if keys := b.keys(t, "pulls/"); len(keys) != 2 || !strings.HasSuffix(keys[1], "/_pulls") || !strings.Contains(keys[0], "/_days/2000-01-02+") {
			t.Errorf("got %q, want the record and an object of today", keys)
		}
		counts(t, times, repo, want)
		counts(t, other, repo, want)
		record, err := times.Record(t.Context(), repo)
		if err != nil || !maps.Equal(record.Days, map[string]int64{"2000-01-01": 6, "2000-01-02": 1}) || !record.Tags["v2"].Last.Equal(last) {
			t.Errorf("got %v, %v", record, err)
		}

		time.Sleep(48 * time.Hour)
		fold(times, pulls.Keep{
			Manifest: func(d digest.Digest) bool { return d == two },
			Tag:      func(tag string) bool { return tag == "v2" },
		})
		counts(t, times, repo, map[string]int64{"two": 4, "v2": 1})
		fold(times, pulls.Keep{Manifest: func(digest.Digest) bool { return false }, Tag: func(string) bool { return false }})
		for name, err := range times.Repositories(t.Context()) {
			t.Errorf("%s, %v is left of nothing", name, err)
		}
		if err := errors.Join(times.Close(), other.Close()); err != nil {
			t.Error(err)
		}
		if keys := b.keys(t, "pulls/"); len(keys) != 0 {
			t.Errorf("%q is left of nothing", keys)
		}
	})
}

// A fold that is cut off anywhere counts nothing twice and loses nothing.
func TestAFoldMayBeCutOffAnywhere(t *testing.T) {
	for cut := 1; ; cut++ {
		whole := false
		withBucket(t, func(t *testing.T, b *counting) {
			times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
			for range 3 {
				times.Mark(repo, one, "v1", "")
				time.Sleep(24 * time.Hour)
			}
			time.Sleep(24 * time.Hour)
			want := map[string]int64{"one": 3, "v1": 3}
			b.crashAt(cut)
			err := times.Fold(t.Context(), repo, pulls.Keep{Manifest: all})
			whole = !b.crashed()
			if whole != (err == nil) {
				t.Errorf("cut at change %d: %v", cut, err)
			}
			b.crashAt(0)
			next := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
			counts(t, next, repo, want)
			for range 2 {
				if err := next.Fold(t.Context(), repo, pulls.Keep{Manifest: all}); err != nil {
					t.Error(err)
				}
				counts(t, next, repo, want)
			}
			if keys := b.keys(t, "pulls/"); len(keys) != 1 {
				t.Errorf("cut at change %d: %q is left, want the record", cut, keys)
			}
			if err := errors.Join(times.Close(), next.Close()); err != nil {
				t.Error(err)
			}
		})
		if whole {
			if cut < 6 {
				t.Errorf("a fold of three days made %d changes, want a put, its sync, three deletes and theirs", cut-1)
			}
			return
		}
	}
}

// The marks in memory and the size of an object are bounded, however much is
// pulled.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		defer times.Close()
		for n := range 5000 {
			times.Mark(repo, digest.FromString(fmt.Sprint(n)), "", "")
			if n%500 == 499 {
				time.Sleep(time.Minute)
			}
		}
		got, err := times.Of(t.Context(), repo)
		if err != nil || len(got) != 5000 {
			t.Errorf("%d manifests, %v, want 5000", len(got), err)
		}
		if keys := b.keys(t, "pulls/"); len(keys) < 3 || len(keys) > 6 {
			t.Errorf("%d objects, want some thousand manifests in each", len(keys))
		}
		if b.largest > 300<<10 {
			t.Errorf("an object had %d bytes", b.largest)
		}
		b.set(true)
		for n := range 100_000 {
			times.Mark(fmt.Sprint("r", n%300), digest.FromString(fmt.Sprint(n)), "", "")
		}
		if n := pulls.Remembered(times); n > pulls.MaxRemembered+8 {
			t.Errorf("%d rows in memory, want at most %d", n, pulls.MaxRemembered)
		}
		b.set(false)
		time.Sleep(2 * time.Minute)
		if n := pulls.Remembered(times); n > pulls.MaxRemembered/2 {
			t.Errorf("%d rows in memory after they were written, want at most half of %d", n, pulls.MaxRemembered)
		}
	})
}

// A day that could not be written is given up before it may be folded.
// The pulls that are told have their day, and each is told once.
func TestPullsAreToldWithTheirDay(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		told := map[string]int64{}
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/", Written: func(_ string, counted pulls.Record) {
			for day, n := range counted.Days {
				told[day] += n
			}
		}})
		for range 4 {
			times.Mark(repo, one, "latest", "")
			times.Mark(repo, two, "", "")
			time.Sleep(10 * time.Hour)
		}
		if err := times.Close(); err != nil {
			t.Fatal(err)
		}
		if want := map[string]int64{"2000-01-01": 6, "2000-01-02": 2}; !maps.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

func TestAPastDayIsNotWrittenAnyMore(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		times.Mark(repo, one, "", "")
		time.Sleep(time.Minute)
		b.set(true)
		times.Mark(repo, one, "", "")
		time.Sleep(26 * time.Hour)
		b.set(false)
		if err := times.Fold(t.Context(), repo, pulls.Keep{}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		counts(t, times, repo, map[string]int64{"one": 1})
		if err := times.Close(); err != nil {
			t.Error(err)
		}
		if keys := b.keys(t, "pulls/"); len(keys) != 1 {
			t.Errorf("got %q, want the record alone", keys)
		}
	})
}

func TestADamagedObjectIsBegunAgain(t *testing.T) {
	for _, key := range []string{"pulls/" + repo + "/_pulls", "pulls/" + repo + "/_days/2000-01-01+x", "pulls/" + repo + "/_days/x"} {
		for _, content := range []string{`{"manifests":7`, ``, `{"manifests":{"x":7}}`, `[]`} {
			withBucket(t, func(t *testing.T, b *counting) {
				if _, err := b.Put(t.Context(), key, []byte(content), bucket.Condition{}); err != nil {
					t.Fatal(err)
				}
				times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
				times.Mark(repo, one, "", "")
				counts(t, times, repo, map[string]int64{"one": 1})
				time.Sleep(48 * time.Hour)
				if err := times.Fold(t.Context(), repo, pulls.Keep{}); err != nil {
					t.Error(err)
				}
				counts(t, times, repo, map[string]int64{"one": 1})
				if err := errors.Join(times.Fold(t.Context(), repo, pulls.Keep{Manifest: func(digest.Digest) bool { return false }}), times.Close()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Times from elsewhere count if they are later, and add nothing to the counts.
func TestPullsAreImported(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		began := time.Now().UTC()
		earlier, later := began.Add(-48*time.Hour), began.Add(-time.Hour)
		must := func(last map[digest.Digest]time.Time) {
			t.Helper()
			if err := times.Import(t.Context(), repo, last); err != nil {
				t.Fatal(err)
			}
		}
		must(map[digest.Digest]time.Time{one: earlier, two: began.Add(time.Hour)})
		check(t, times, map[digest.Digest]time.Time{one: earlier, two: began})
		must(map[digest.Digest]time.Time{one: later})
		check(t, times, map[digest.Digest]time.Time{one: later, two: began})
		puts := b.set(false)
		must(map[digest.Digest]time.Time{one: earlier, two: began})
		check(t, times, map[digest.Digest]time.Time{one: later, two: began})
		if got := b.set(false); got != puts {
			t.Errorf("an import that brings nothing wrote %d times", got-puts)
		}
		times.Mark(repo, one, "", "")
		time.Sleep(48 * time.Hour)
		if err := errors.Join(times.Fold(t.Context(), repo, pulls.Keep{}), times.Close()); err != nil {
			t.Error(err)
		}
		counts(t, times, repo, map[string]int64{"one": 1, "two": 0})
		check(t, times, map[digest.Digest]time.Time{one: began, two: began})
		b.set(true)
		if err := times.Import(t.Context(), repo, map[digest.Digest]time.Time{one: time.Now()}); !errors.Is(err, bucket.ErrNoSpace) {
			t.Errorf("on a full disk: %v", err)
		}
	})
}

func TestARecordOfLayout2IsRead(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		if _, err := b.Put(t.Context(), "pulls/"+repo+"/_pulls", []byte(`{"manifests":{"`+string(one)+`":"1999-12-31T23:00:00Z"}}`), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		check(t, times, map[digest.Digest]time.Time{one: time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)})
		now := time.Now()
		times.Mark(repo, one, "", "")
		check(t, times, map[digest.Digest]time.Time{one: now})
		time.Sleep(48 * time.Hour)
		if err := errors.Join(times.Fold(t.Context(), repo, pulls.Keep{}), times.Close()); err != nil {
			t.Error(err)
		}
		counts(t, times, repo, map[string]int64{"one": 1})
	})
}
