package index_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/index"
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

func entries(rows ...index.Entry) iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func rebuild(t *testing.T, x *index.Index, rows ...index.Entry) {
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

func TestListsAreInByteOrderBehindAfter(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	must(t, x.PutManifest("a", one), x.PutManifest("a", two), x.PutManifest("a/b", one),
		x.PutManifest("a-b", one), x.PutTag("a", "v1", one), x.PutTag("a", "V1", two), x.PutTag("a", "v10", two), x.PutTag("a/b", "v0", one))
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"all repositories", collect(t, x.Repositories("")), []string{"a", "a-b", "a/b"}},
		{"repositories behind one that is there", collect(t, x.Repositories("a")), []string{"a-b", "a/b"}},
		{"repositories behind one that is not", collect(t, x.Repositories("a-a")), []string{"a-b", "a/b"}},
		{"all tags", names(collect(t, x.Tags("a", ""))), []string{"V1", "v1", "v10"}},
		{"tags behind one that is there", names(collect(t, x.Tags("a", "v1"))), []string{"v10"}},
		{"tags behind one that is not", names(collect(t, x.Tags("a", "a"))), []string{"v1", "v10"}},
		{"tags of no repository", names(collect(t, x.Tags("b", ""))), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func names(tags []index.Tag) (all []string) {
	for _, tag := range tags {
		all = append(all, tag.Name)
	}
	return all
}

func TestListsOfManyRowsAreWhole(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	var rows []index.Entry
	var want []string
	for i := range 5000 {
		tag := fmt.Sprintf("t%05d", i)
		want = append(want, tag)
		rows = append(rows, index.Entry{Repo: "r", Tag: tag, Digest: one}, index.Entry{Repo: fmt.Sprintf("r%05d", i), Digest: one})
	}
	rebuild(t, x, rows...)
	if got := names(collect(t, x.Tags("r", ""))); !slices.Equal(got, want) {
		t.Errorf("got %d tags, want %d in order", len(got), len(want))
	}
	if got := collect(t, x.Repositories("")); len(got) != 5000 || !slices.IsSorted(got) {
		t.Errorf("got %d repositories, want 5000 in order", len(got))
	}
}

func TestOnlyACleanStopIsBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "x.db")
	x := open(t, path)
	if x.Ready() {
		t.Error("a new index is ready")
	}
	rebuild(t, x, index.Entry{Repo: "a", Digest: one})
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

func TestChangesDuringARebuildWin(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	err := x.Rebuild(context.Background(), func(yield func(index.Entry, error) bool) {
		// The scan sees both tags as they were, then they change.
		must(t, x.PutTag("a", "moved", two), x.DeleteTag("a", "gone"), x.DeleteTag("a", "back"), x.PutTag("a", "back", two), x.DeleteManifest("a", one))
		for _, row := range []index.Entry{{Repo: "a", Tag: "moved", Digest: one}, {Repo: "a", Tag: "gone", Digest: one}, {Repo: "a", Tag: "back", Digest: one}, {Repo: "a", Digest: one}, {Repo: "a", Digest: two}} {
			if !yield(row, nil) {
				return
			}
		}
	})
	must(t, err)
	want := []index.Tag{{Name: "back", Digest: two}, {Name: "moved", Digest: two}}
	if got := collect(t, x.Tags("a", "")); !slices.Equal(got, want) {
		t.Errorf("got tags %v, want %v", got, want)
	}
	if got := collect(t, x.Manifests("a")); !slices.Equal(got, []digest.Digest{two}) {
		t.Errorf("got manifests %v, want %v", got, two)
	}
}

func TestARebuildThatFailsIsNotReady(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	broken := errors.New("disk")
	err := x.Rebuild(context.Background(), func(yield func(index.Entry, error) bool) { yield(index.Entry{}, broken) })
	if !errors.Is(err, broken) || x.Ready() {
		t.Errorf("got error %v, ready %v", err, x.Ready())
	}
	rebuild(t, x, index.Entry{Repo: "a", Digest: one})
	if !x.Ready() {
		t.Error("not ready after a second rebuild")
	}
	x.Distrust()
	if x.Ready() {
		t.Error("ready after distrust")
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
			err = x.Rebuild(context.Background(), func(yield func(index.Entry, error) bool) {
				for i := range n {
					if !yield(index.Entry{Repo: "r", Tag: fmt.Sprintf("t%06d", i), Digest: one}, nil) {
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
