package pulls_test

import (
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/pulls"
)

// names checks who pulled one and v1 last.
func names(t *testing.T, times *pulls.Times, manifest, tag string) {
	t.Helper()
	record, err := times.Record(t.Context(), repo)
	if err != nil || record.Manifests[one].By != manifest || record.Tags["v1"].By != tag {
		t.Errorf("got %+v, %v, want one by %q and v1 by %q", record, err, manifest, tag)
	}
}

func TestTheLastPullHasItsUser(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		fold := func() {
			t.Helper()
			time.Sleep(48 * time.Hour)
			if err := times.Fold(t.Context(), repo, pulls.Keep{}); err != nil {
				t.Error(err)
			}
		}
		times.Mark(repo, one, "v1", "ada")
		names(t, times, "ada", "ada")
		time.Sleep(time.Minute)
		names(t, times, "ada", "ada")
		times.Mark(repo, one, "", "")
		names(t, times, "", "ada")
		fold()
		names(t, times, "", "ada")
		times.Mark(repo, one, "", "bob")
		fold()
		names(t, times, "bob", "ada")
		times.Mark(repo, one, "v1", strings.Repeat("x", 257))
		fold()
		names(t, times, "", "")
		counts(t, times, repo, map[string]int64{"one": 4, "v1": 2})
		if err := times.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestARecordWithoutNamesIsRead(t *testing.T) {
	withBucket(t, func(t *testing.T, b *counting) {
		record := `{"manifests":{"` + string(one) + `":{"n":2,"last":"1999-12-31T23:00:00Z"}},"tags":{"v1":{"n":1,"last":"1999-12-31T23:00:00Z"}}}`
		if _, err := b.Put(t.Context(), "pulls/"+repo+"/_pulls", []byte(record), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
		names(t, times, "", "")
		times.Mark(repo, one, "", "ada")
		names(t, times, "ada", "")
		counts(t, times, repo, map[string]int64{"one": 3, "v1": 1})
		if err := times.Close(); err != nil {
			t.Error(err)
		}
	})
}
