package store_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// described waits until a projection is, and gives up after a minute.
func described(t rapid.TB, p store.Projection) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !p.Whole(); {
		if time.Now().After(until) {
			t.Fatal("the catalog is not whole")
		}
		runtime.Gosched()
	}
}

// listed returns the rows of a list; an unknown repository has none.
func listed[T any](t rapid.TB, rows iter.Seq2[T, error]) (got []T) {
	t.Helper()
	for row, err := range rows {
		if err != nil {
			want(t, "rows", err, core.ErrNameUnknown)
			return nil
		}
		got = append(got, row)
	}
	return got
}

var (
	repositoryOrders = []core.RepositoryOrder{core.RepositoriesByName, core.RepositoriesByPush, core.RepositoriesByPull, core.RepositoriesBySize}
	tagOrders        = []core.TagOrder{core.TagsByName, core.TagsByVersion, core.TagsByPush, core.TagsByPull}
)

// catalogText is everything that a catalog shows, as text.
func catalogText(t rapid.TB, c core.Catalog, repos ...string) string {
	t.Helper()
	ctx := context.Background()
	var text strings.Builder
	line := func(row any) { fmt.Fprintf(&text, "%+v\n", row) }
	for _, order := range repositoryOrders {
		for _, in := range []string{"", "a", "c"} {
			line(listed(t, c.RepositoryRows(ctx, in, order, "")))
		}
	}
	for _, repo := range repos {
		row, err := c.RepositoryRow(ctx, repo)
		line(fmt.Sprint(row, err))
		for _, order := range tagOrders {
			line(listed(t, c.TagRows(ctx, repo, order, "")))
		}
		for _, image := range listed(t, c.ImageRows(ctx, repo, "")) {
			named, err := c.ImageNames(ctx, repo, image.Digest)
			line(fmt.Sprintf("%+v %+v %v", image, named, err))
			line(listed(t, c.DigestTags(ctx, repo, image.Digest, "")))
		}
		for _, blob := range modelBlobs {
			line(listed(t, c.UserRows(ctx, repo, digest.FromString(blob), "")))
		}
	}
	for _, blob := range modelBlobs {
		line(listed(t, c.ContentRows(ctx, string(digest.FromString(blob))[:len("sha256:")+7], "")))
	}
	return text.String()
}

// rebuild compares the catalog with one that is filled by a scan of the same bucket.
func (m *machine) rebuild(t *rapid.T) {
	x, err := index.ForStore("", slog.New(slog.DiscardHandler))
	want(t, "open another index", err, nil)
	config := m.world.collecting()
	config.Names, config.Projection = x, x
	s, err := store.Open(context.Background(), m.world.memory, config)
	want(t, "open another store", err, nil)
	described(t, x)
	got, scanned := catalogText(t, m.catalog, modelRepos...), catalogText(t, x, modelRepos...)
	want(t, "close", s.Close(), nil)
	if got != scanned {
		t.Fatalf("the catalog has\n%s\nand a scan finds\n%s", got, scanned)
	}
}

// compareCatalog looks at the figures and orders of the catalog.
func (m *machine) compareCatalog(t *rapid.T) {
	ctx := t.Context()
	described(t, m.catalog)
	size := map[digest.Digest]int64{}
	holders := map[digest.Digest][]string{}
	for c, err := range m.world.Contents(ctx) {
		want(t, "contents", err, nil)
		size[c.Digest], holders[c.Digest] = c.Size, c.Repos
	}
	var expected []core.RepositoryRow
	for _, name := range modelRepos {
		r := m.repos[name]
		row, err := m.catalog.RepositoryRow(ctx, name)
		want(t, "row of "+name, err, known(len(r.manifests) > 0, core.ErrNameUnknown)...)
		if err != nil {
			continue
		}
		held := maps.Clone(r.blobs)
		for d := range r.manifests {
			held[d] = true
		}
		var bytes, only int64
		for d := range held {
			bytes += size[d]
			if len(holders[d]) == 1 {
				only += size[d]
			}
		}
		if row.Tags != int64(len(r.tags)) || row.Manifests != int64(len(r.manifests)) || row.Bytes != bytes || row.OnlyHere != only {
			t.Fatalf("row of %s: got %+v, want %d tags, %d manifests, %d bytes, %d only here", name, row, len(r.tags), len(r.manifests), bytes, only)
		}
		m.compareSays(t, row)
		expected = append(expected, row)
		m.compareTagRows(t, name, r, row)
	}
	for order, compare := range map[core.RepositoryOrder]func(a, b core.RepositoryRow) int{
		core.RepositoriesByName: func(a, b core.RepositoryRow) int { return 0 },
		core.RepositoriesByPush: func(a, b core.RepositoryRow) int { return b.Pushed.Compare(a.Pushed) },
		core.RepositoriesBySize: func(a, b core.RepositoryRow) int { return cmp.Compare(b.Bytes, a.Bytes) },
	} {
		slices.SortFunc(expected, func(a, b core.RepositoryRow) int { return cmp.Or(compare(a, b), cmp.Compare(a.Name, b.Name)) })
		got := listed(t, m.catalog.RepositoryRows(ctx, "", order, ""))
		if !slices.EqualFunc(got, expected, func(a, b core.RepositoryRow) bool { return a.Name == b.Name }) {
			t.Fatalf("repositories by %s: got %+v, want %+v", order, got, expected)
		}
	}
}

// compareSays compares what a repository says with the image of its newest tag.
func (m *machine) compareSays(t *rapid.T, row core.RepositoryRow) {
	var says core.Says
	if row.NewestDigest != "" {
		image, err := m.catalog.ImageRow(t.Context(), row.Name, row.NewestDigest)
		if err == nil {
			says = image.Says()
		}
	}
	if row.Says != says {
		t.Fatalf("%s says %+v, and its newest tag %+v", row.Name, row.Says, says)
	}
}

// compareTagRows compares a repository's tags, one page of one row after the other.
func (m *machine) compareTagRows(t *rapid.T, name string, r *modelRepo, repo core.RepositoryRow) {
	ctx := t.Context()
	for _, order := range tagOrders {
		var got []core.TagRow
		for after := ""; ; {
			var next *core.TagRow
			for row, err := range m.catalog.TagRows(ctx, name, order, after) {
				want(t, "tags of "+name, err, nil)
				next = &row
				break
			}
			if next == nil {
				break
			}
			got, after = append(got, *next), next.At
		}
		tags := slices.Sorted(maps.Keys(r.tags))
		slices.SortStableFunc(tags, func(a, b string) int {
			if order == core.TagsByVersion {
				return cmp.Compare(core.VersionKey(b), core.VersionKey(a))
			}
			return 0
		})
		for _, row := range got {
			if row.Digest != r.tags[row.Name] || len(row.Aliases) != r.naming(row.Digest)-1 {
				t.Fatalf("tag %s of %s: got %+v, want %s", row.Name, name, row, r.tags[row.Name])
			}
			if _, held := r.manifests[row.Digest]; held != row.Image.Described {
				t.Fatalf("tag %s of %s: got image %+v, and its being held is %v", row.Name, name, row.Image, held)
			}
		}
		names := make([]string, 0, len(got))
		for _, row := range got {
			names = append(names, row.Name)
		}
		if order == core.TagsByPush {
			if !slices.IsSortedFunc(got, func(a, b core.TagRow) int { return b.Since.Compare(a.Since) }) {
				t.Fatalf("tags of %s by push: got %+v", name, got)
			}
			if len(got) > 0 && (repo.Newest != got[0].Name || repo.NewestDigest != got[0].Digest) {
				t.Fatalf("newest tag of %s: got %s, want %s", name, repo.Newest, got[0].Name)
			}
			slices.Sort(names)
			slices.Sort(tags)
		}
		if !slices.Equal(names, tags) {
			t.Fatalf("tags of %s by %s: got %q, want %q", name, order, names, tags)
		}
	}
}

func (r *modelRepo) naming(d digest.Digest) (n int) {
	for _, held := range r.tags {
		if held == d {
			n++
		}
	}
	return n
}
