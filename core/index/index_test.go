package index_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

var one, two = digest.FromString("one"), digest.FromString("two")

func open(t testing.TB, path string) *index.Index {
	t.Helper()
	x, err := index.Open(path, func(err error) { t.Errorf("damage: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func entries(rows ...store.NameRow) iter.Seq2[store.NameRow, error] {
	return func(yield func(store.NameRow, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func rebuild(t *testing.T, x *index.Index, rows ...store.NameRow) {
	t.Helper()
	if err := x.Rebuild(context.Background(), entries(rows...)); err != nil {
		t.Fatal(err)
	}
}

func collect[T any](t *testing.T, rows iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestAnIndexIsNames(t *testing.T) {
	coretest.Names(t, func(t *testing.T) store.Names { return open(t, "") })
	t.Run("in a file that is kept", func(t *testing.T) {
		coretest.Names(t, func(t *testing.T) store.Names { return open(t, filepath.Join(t.TempDir(), "x.db")) })
	})
}

func names(tags []store.Tag) (all []string) {
	for _, tag := range tags {
		all = append(all, tag.Name)
	}
	return all
}

func TestOnlyACleanStopIsBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "x.db")
	x := open(t, path)
	if x.Ready() {
		t.Error("a new index is ready")
	}
	rebuild(t, x, store.NameRow{Repo: "a", Digest: one})
	must(t, x.Close())

	x = open(t, path)
	if !x.Ready() || !has(t, x, "a") {
		t.Error("after a clean stop the index is not what it was")
	}
	// A crash: the file is left under the name that it has while it is open.
	saved, err := os.ReadFile(path + ".open")
	must(t, err, x.Close(), os.Remove(path), os.WriteFile(path+".open", saved, 0o600))
	x = open(t, path)
	if x.Ready() || has(t, x, "a") {
		t.Error("after a crash the index is believed")
	}
	must(t, x.Close())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an index that is not ready was kept: %v", err)
	}
}

func BenchmarkTagsPage(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, err := index.Open("", func(err error) { b.Errorf("damage: %v", err) })
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			err = x.Rebuild(context.Background(), func(yield func(store.NameRow, error) bool) {
				for i := range n {
					if !yield(store.NameRow{Repo: "r", Tag: fmt.Sprintf("t%06d", i), Digest: one}, nil) {
						return
					}
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				rows := 0
				for _, err := range x.Tags("r", "t000500") {
					if rows++; err != nil || rows == 100 {
						break
					}
				}
			}
		})
	}
}

func has(t *testing.T, x *index.Index, repo string) bool {
	t.Helper()
	held, err := x.HasRepository(repo)
	must(t, err)
	return held
}

// BenchmarkPut is what a push pays for.
func BenchmarkPut(b *testing.B) {
	x := open(b, "")
	defer x.Close()
	for i := 0; b.Loop(); i++ {
		if err := x.PutTag("r", fmt.Sprintf("t%06d", i), one); err != nil {
			b.Fatal(err)
		}
	}
}
