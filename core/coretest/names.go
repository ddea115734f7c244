package coretest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/store"
)

// Names runs the contract of store.Names over what open returns: names that have nothing and
// are not Ready. The suite closes them.
//
// The suite does not say what an implementation keeps between two runs, or what damage does
// to it.
func Names(t *testing.T, open func(t *testing.T) store.Names) {
	for _, c := range namesClauses {
		t.Run(c.name, func(t *testing.T) {
			f := &namesFixture{T: t, Names: open(t)}
			defer func() { f.do(f.Close()) }()
			c.test(f)
		})
	}
}

type namesClause struct {
	name string
	test func(f *namesFixture)
}

type namesFixture struct {
	*testing.T
	store.Names
}

var first, second = digest.FromString("first"), digest.FromString("second")

// do expects that writes succeed.
func (f *namesFixture) do(errs ...error) {
	f.Helper()
	if err := errors.Join(errs...); err != nil {
		f.Fatal(err)
	}
}

func manifestRow(repo string, d digest.Digest) store.NameRow {
	return store.NameRow{Repo: repo, Digest: d}
}

func tagRow(repo, tag string, d digest.Digest) store.NameRow {
	return store.NameRow{Repo: repo, Tag: tag, Digest: d}
}

// scanned is a walk over rows that begins by calling during.
func scanned(during func(), rows ...store.NameRow) iter.Seq2[store.NameRow, error] {
	return func(yield func(store.NameRow, error) bool) {
		during()
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func (f *namesFixture) rebuild(rows ...store.NameRow) {
	f.Helper()
	f.do(f.Rebuild(f.Context(), scanned(func() {}, rows...)))
	f.ready(true)
}

func (f *namesFixture) ready(want bool) {
	f.Helper()
	if got := f.Ready(); got != want {
		f.Errorf("ready is %v, want %v", got, want)
	}
}

func walked[T any](f *namesFixture, rows iter.Seq2[T, error]) (all []T) {
	f.Helper()
	for row, err := range rows {
		f.do(err)
		all = append(all, row)
	}
	return all
}

func (f *namesFixture) repositories(after string, want ...string) {
	f.Helper()
	if got := walked(f, f.Repositories(after)); !slices.Equal(got, want) {
		f.Errorf("repositories behind %q: got %q, want %q", after, got, want)
	}
}

func (f *namesFixture) tags(repo, after string, want ...store.Tag) {
	f.Helper()
	if got := walked(f, f.Tags(repo, after)); !slices.Equal(got, want) {
		f.Errorf("tags of %s behind %q: got %v, want %v", repo, after, got, want)
	}
}

func (f *namesFixture) manifests(repo string, want ...digest.Digest) {
	f.Helper()
	slices.Sort(want)
	if got := walked(f, f.Manifests(repo)); !slices.Equal(got, want) {
		f.Errorf("manifests of %s: got %v, want %v", repo, got, want)
	}
	if has, err := f.HasRepository(repo); err != nil || has != (len(want) > 0) {
		f.Errorf("%s is held: got %v and error %v, want %v", repo, has, err, len(want) > 0)
	}
}

var namesClauses = []namesClause{
	{"new names are not ready, and a rebuild makes them so", func(f *namesFixture) {
		f.ready(false)
		f.rebuild()
		f.repositories("")
		f.tags("a", "")
		f.manifests("a")
	}},
	{"lists come in byte order, behind any name", func(f *namesFixture) {
		f.do(f.PutManifest("a", first), f.PutManifest("a", second), f.PutManifest("a/b", first), f.PutManifest("a-b", first),
			f.PutTag("a", "v1", first), f.PutTag("a", "V1", second), f.PutTag("a", "v10", second), f.PutTag("a/b", "v0", first))
		f.repositories("", "a", "a-b", "a/b")
		f.repositories("a", "a-b", "a/b")
		f.repositories("a-a", "a-b", "a/b")
		f.repositories("a/b")
		capital, one, ten := store.Tag{Name: "V1", Digest: second}, store.Tag{Name: "v1", Digest: first}, store.Tag{Name: "v10", Digest: second}
		f.tags("a", "", capital, one, ten)
		f.tags("a", "v1", ten)
		f.tags("a", "a", one, ten)
		f.tags("a", "v10")
		f.tags("b", "")
		f.manifests("a", first, second)
		f.manifests("a-b", first)
		f.manifests("b")
	}},
	{"a repository is one that holds a manifest, and tags stand alone", func(f *namesFixture) {
		f.do(f.PutTag("tagged", "v1", first), f.PutManifest("held", first))
		f.repositories("", "held")
		f.tags("tagged", "", store.Tag{Name: "v1", Digest: first})
		f.manifests("tagged")
	}},
	{"a put replaces, a delete removes, and both may be repeated", func(f *namesFixture) {
		for range 2 {
			f.do(f.PutManifest("a", first), f.PutManifest("a", second), f.PutTag("a", "v1", first), f.PutTag("a", "v1", second), f.PutTag("a", "v2", ""))
		}
		f.tags("a", "", store.Tag{Name: "v1", Digest: second}, store.Tag{Name: "v2"})
		for range 2 {
			f.do(f.DeleteTag("a", "v1"), f.DeleteManifest("a", first))
		}
		f.tags("a", "", store.Tag{Name: "v2"})
		f.manifests("a", second)
		f.do(f.DeleteManifest("a", second))
		f.manifests("a")
		f.repositories("")
		f.tags("a", "", store.Tag{Name: "v2"})
	}},
	{"lists of many rows are whole, and may be left at any row", func(f *namesFixture) {
		var rows []store.NameRow
		var tags []store.Tag
		var repos []string
		for i := range manyNames {
			tag, repo := store.Tag{Name: fmt.Sprintf("t%05d", i), Digest: first}, fmt.Sprintf("r%05d", i)
			tags, repos = append(tags, tag), append(repos, repo)
			rows = append(rows, tagRow("r", tag.Name, first), manifestRow(repo, second))
		}
		f.rebuild(rows...)
		if got := walked(f, f.Tags("r", "")); !slices.Equal(got, tags) {
			f.Errorf("got %d tags, want %d in order", len(got), len(tags))
		}
		if got := walked(f, f.Repositories("")); !slices.Equal(got, repos) {
			f.Errorf("got %d repositories, want %d in order", len(got), len(repos))
		}
		for _, leave := range []int{1, 200, 201, manyNames - 1} {
			seen := 0
			for range f.Tags("r", "") {
				if seen++; seen == leave {
					break
				}
			}
			if seen != leave {
				f.Errorf("left a walk after %d rows, want %d", seen, leave)
			}
		}
	}},
	{"a consumer may write while it walks", func(f *namesFixture) {
		f.do(f.PutTag("a", "v1", first), f.PutTag("a", "v2", first), f.PutManifest("a", first))
		for tag, err := range f.Tags("a", "") {
			f.do(err, f.PutTag("b", tag.Name, tag.Digest), f.DeleteTag("a", tag.Name))
		}
		f.tags("a", "")
		f.tags("b", "", store.Tag{Name: "v1", Digest: first}, store.Tag{Name: "v2", Digest: first})
		for repo, err := range f.Repositories("") {
			f.do(err, f.DeleteManifest(repo, first))
		}
		f.repositories("")
	}},
	{"a rebuild replaces what was kept before", func(f *namesFixture) {
		f.do(f.PutManifest("old", first), f.PutTag("old", "v1", first))
		f.rebuild(manifestRow("a", first), tagRow("a", "v1", first), tagRow("a", "unreadable", ""))
		f.repositories("", "a")
		f.tags("old", "")
		f.tags("a", "", store.Tag{Name: "unreadable"}, store.Tag{Name: "v1", Digest: first})
	}},
	{"writes during a rebuild win over what the scan has seen", func(f *namesFixture) {
		f.do(f.Rebuild(f.Context(), scanned(func() {
			f.do(f.PutTag("a", "moved", second), f.DeleteTag("a", "gone"), f.DeleteTag("a", "back"), f.PutTag("a", "back", second),
				f.DeleteManifest("a", first), f.PutManifest("new", first))
		}, tagRow("a", "moved", first), tagRow("a", "gone", first), tagRow("a", "back", first), manifestRow("a", first), manifestRow("a", second))))
		f.ready(true)
		f.tags("a", "", store.Tag{Name: "back", Digest: second}, store.Tag{Name: "moved", Digest: second})
		f.manifests("a", second)
		f.repositories("", "a", "new")
	}},
	{"what was deleted before a rebuild may come back by its scan", func(f *namesFixture) {
		f.rebuild(tagRow("a", "v1", first))
		f.do(f.DeleteTag("a", "v1"))
		f.rebuild(tagRow("a", "v1", second))
		f.tags("a", "", store.Tag{Name: "v1", Digest: second})
	}},
	{"a rebuild that fails leaves them not ready, and the next one succeeds", func(f *namesFixture) {
		f.rebuild()
		broken := errors.New("disk")
		err := f.Rebuild(f.Context(), func(yield func(store.NameRow, error) bool) {
			if yield(manifestRow("a", first), nil) {
				yield(store.NameRow{}, broken)
			}
		})
		if !errors.Is(err, broken) {
			f.Errorf("got error %v, want the scan's", err)
		}
		f.ready(false)
		f.rebuild(manifestRow("b", first))
		f.repositories("", "b")
	}},
	{"distrust lasts until a rebuild", func(f *namesFixture) {
		f.rebuild()
		f.Distrust()
		f.ready(false)
		f.rebuild()
	}},
	{"distrust during a rebuild outlasts it", func(f *namesFixture) {
		// The scan may be past what a write has failed to note.
		if err := f.Rebuild(f.Context(), scanned(f.Distrust, manifestRow("a", first))); err == nil {
			f.Error("a rebuild that was distrusted has no error")
		}
		f.ready(false)
		f.rebuild()
	}},
	{"writers and readers at the same time", func(f *namesFixture) {
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				repo := fmt.Sprintf("r%d", w)
				for i := range 50 {
					tag := fmt.Sprintf("t%02d", i)
					if err := errors.Join(f.PutManifest(repo, first), f.PutTag(repo, tag, first)); err != nil {
						f.Error(err)
					}
					if i%2 == 1 {
						if err := f.DeleteTag(repo, tag); err != nil {
							f.Error(err)
						}
					}
					for _, err := range f.Tags("r0", "") {
						if err != nil {
							f.Error(err)
						}
					}
				}
			})
		}
		err := f.Rebuild(context.WithoutCancel(f.Context()), scanned(func() {}, manifestRow("scanned", first)))
		all.Wait()
		f.do(err)
		f.ready(true)
		if has, err := f.HasRepository("scanned"); err != nil || !has {
			f.Errorf("what the scan found is held: got %v and error %v", has, err)
		}
	}},
}

// manyNames is more than what one read of an implementation is likely to return at once.
const manyNames = 5000
