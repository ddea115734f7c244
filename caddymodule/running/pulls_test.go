package running

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/store"
)

// The rows of pulls, with who pulled last, are the same whether they were told one after the other or
// read from the records, in whatever order pulls came and were written and folded.
func TestPullsThatWereToldAreThoseThatAreRead(t *testing.T) {
	const repo = "team/app"
	var digests []digest.Digest
	for n := range 3 {
		digests = append(digests, digest.FromString(fmt.Sprint(n)))
	}
	// filled returns an index in which the repository holds the digests, each with its tag.
	filled := func(t *testing.T, path string) *index.Index {
		x, err := index.ForStore(path, slog.New(slog.DiscardHandler))
		if err == nil {
			err = x.Rebuild(t.Context(), func(func(store.NameRow, error) bool) {})
		}
		if err == nil {
			err = x.Describe(t.Context(), func(func(store.Change, error) bool) {})
		}
		if err != nil {
			t.Fatal(err)
		}
		for n, d := range digests {
			x.Apply(store.Change{Event: store.ImageHeld, Repo: repo, Digest: d})
			x.Apply(store.Change{Event: store.TagSet, Repo: repo, Tag: fmt.Sprint("v", n), State: core.TagState{Digest: d}})
		}
		return x
	}
	rows := func(t *testing.T, x *index.Index) (text []string, named int) {
		for row, err := range x.TagRows(t.Context(), repo, core.TagsByPull, "") {
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, fmt.Sprintf("%s %+v %+v", row.Name, row.Pulls, row.Image.Pulls))
			if row.Pulls.By != "" {
				named++
			}
		}
		return text, named
	}
	named := 0
	for seed := range uint64(10) {
		path := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			disk, err := dir.Open(path, dir.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer disk.Close()
			b, err := disk.Bucket("mirrors")
			if err != nil {
				t.Fatal(err)
			}
			told := filled(t, filepath.Join(path, "told.db"))
			times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/", Written: func(repo string, counted pulls.Record) {
				for change := range pullChanges(store.Pulled, store.PulledOn, repo, counted) {
					told.Apply(change)
				}
			}})
			for range 200 {
				n := rng.IntN(len(digests))
				tag, by := []string{"", fmt.Sprint("v", n)}[rng.IntN(2)], []string{"", "ada", "bob"}[rng.IntN(3)]
				switch rng.IntN(8) {
				case 0, 1, 2, 3, 4:
					times.Mark(repo, digests[n], tag, by)
				case 5:
					time.Sleep(time.Duration(rng.IntN(60)) * time.Second)
				case 6:
					// Not at a whole second, when pulls are written: a bucket that waits for its disk while
					// another goroutine waits for a lock stops the clock.
					time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1500 * time.Millisecond)))
					if err := times.Fold(t.Context(), repo, pulls.Keep{}); err != nil {
						t.Fatal(err)
					}
				case 7:
					time.Sleep(time.Duration(rng.IntN(10)) * time.Hour)
				}
			}
			if err := times.Close(); err != nil {
				t.Fatal(err)
			}
			read := filled(t, filepath.Join(path, "read.db"))
			again := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
			defer again.Close()
			record, err := again.Stored(t.Context(), repo)
			if err != nil {
				t.Fatal(err)
			}
			apply(read, pullChanges(store.PullsRead, store.DaysRead, repo, record))
			got, some := rows(t, told)
			if want, _ := rows(t, read); !slices.Equal(got, want) {
				t.Errorf("seed %d: told\n%q\nand read\n%q", seed, got, want)
			}
			named += some
			if err := errors.Join(told.Close(), read.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	if named == 0 {
		t.Error("no tag had the name of a user")
	}
}

func apply(x *index.Index, changes iter.Seq[store.Change]) {
	for change := range changes {
		x.Apply(change)
	}
}
