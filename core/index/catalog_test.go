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
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

var start = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// held is the change of an image with two layers, one of which all images of the repository have.
func held(repo string, n int) store.Change {
	layers := []digest.Digest{digest.FromString("base of " + repo), digest.FromString(fmt.Sprint(repo, " layer ", n))}
	return store.Change{
		Event: store.ImageHeld, Repo: repo, Digest: image(repo, n), Named: layers,
		Image: core.ImageFacts{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1000, Content: 3000, Pushed: start.Add(time.Duration(n) * time.Second)},
	}
}

func image(repo string, n int) digest.Digest {
	return digest.FromString(fmt.Sprint(repo, " image ", n))
}

func tagged(repo string, n int) store.Change {
	return store.Change{
		Event: store.TagSet, Repo: repo, Tag: fmt.Sprintf("v1.%d.0", n),
		State: core.TagState{Digest: image(repo, n), Since: start.Add(time.Duration(n) * time.Second), By: "ci"},
	}
}

// push applies an image with its blobs and its tag.
func push(x *index.Index, repo string, n int) {
	c := held(repo, n)
	for _, blob := range c.Named {
		x.Apply(store.Change{Event: store.BlobLinked, Repo: repo, Digest: blob, Size: 1500})
	}
	x.Apply(c)
	x.Apply(tagged(repo, n))
}

// complete makes an index whole that has nothing.
func complete(t testing.TB, x *index.Index) {
	t.Helper()
	nothing := func(func(store.Change, error) bool) {}
	if err := errors.Join(x.Rebuild(context.Background(), entries()), x.Describe(context.Background(), nothing)); err != nil {
		t.Fatal(err)
	}
}

// take returns the first n rows.
func take[T any](t testing.TB, n int, rows iter.Seq2[T, error]) (got []T) {
	t.Helper()
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, row); len(got) == n {
			break
		}
	}
	return got
}

// A page costs the same in a small and in a large registry: the rows that it reads are counted.
func TestAPageReadsAsManyRowsHoweverManyThereAre(t *testing.T) {
	ctx := t.Context()
	many := 3000
	if os.Getenv("REGISTRY_SLOW") != "" {
		many = 100_000
	}
	pages := map[string]func(x *index.Index, repo string){}
	for _, order := range []core.TagOrder{core.TagsByName, core.TagsByVersion, core.TagsByPush, core.TagsByPull} {
		pages["tags by "+string(order)] = func(x *index.Index, repo string) { take(t, 51, x.TagRows(ctx, repo, order, "")) }
	}
	for _, order := range []core.RepositoryOrder{core.RepositoriesByName, core.RepositoriesByPush, core.RepositoriesByPull, core.RepositoriesBySize} {
		pages["repositories by "+string(order)] = func(x *index.Index, repo string) { take(t, 51, x.RepositoryRows(ctx, "", order, "")) }
		pages["a group's repositories by "+string(order)] = func(x *index.Index, repo string) { take(t, 51, x.RepositoryRows(ctx, "team", order, "")) }
	}
	pages["images"] = func(x *index.Index, repo string) { take(t, 51, x.ImageRows(ctx, repo, "")) }
	pages["a repository"] = func(x *index.Index, repo string) {
		if row, err := x.RepositoryRow(ctx, repo); err != nil || row.Tags == 0 {
			t.Errorf("got %+v and error %v", row, err)
		}
	}
	pages["what an image names"] = func(x *index.Index, repo string) {
		if named, err := x.ImageNames(ctx, repo, image(repo, 7)); err != nil || len(named) != 2 || named[0].Users != 2 || named[1].Users != 1 {
			t.Errorf("got %+v and error %v", named, err)
		}
	}
	pages["a tag"] = func(x *index.Index, repo string) {
		if row, err := x.TagRow(ctx, repo, "v1.7.0"); err != nil || !row.Image.Described {
			t.Errorf("got %+v and error %v", row, err)
		}
	}
	pages["a search for a digest"] = func(x *index.Index, repo string) {
		if got := take(t, 9, x.ContentRows(ctx, image(repo, 7).String()[:19], "")); len(got) != 1 || got[0].Repo != repo || !got[0].Manifest {
			t.Errorf("got %+v", got)
		}
	}
	reads := func(tags, repos int) map[string]uint64 {
		x := open(t, "")
		defer x.Close()
		complete(t, x)
		for n := range tags {
			push(x, "team/large", n)
		}
		for n := range repos {
			push(x, fmt.Sprintf("team/app%05d", n), 1)
		}
		x.Apply(store.Change{Event: store.Pulled, Repo: "team/large", Digest: image("team/large", 7), Pulls: core.PullCount{N: 1, Last: start}})
		counted := map[string]uint64{}
		for name, page := range pages {
			page(x, "team/large") // writes what is behind
			before := index.RowsRead()
			page(x, "team/large")
			counted[name] = index.RowsRead() - before
		}
		return counted
	}
	few, lots := reads(200, 200), reads(many, many/10)
	for name := range pages {
		if few[name] != lots[name] || few[name] == 0 {
			t.Errorf("%s: read %d rows of few and %d of many", name, few[name], lots[name])
		}
	}
}

// A search by a part of a name reads the names alone, and pauses after many.
func TestASearchPassesOverNames(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	complete(t, x)
	const n = 2500
	for i := range n {
		push(x, "team/app", i)
	}
	ctx := core.WithSought(t.Context(), "V1.12")
	rows := take(t, n, x.TagRows(ctx, "team/app", core.TagsByPush, ""))
	before := index.RowsRead()
	if again := take(t, n, x.TagRows(ctx, "team/app", core.TagsByPush, "")); len(rows) != 111 || len(again) != 111 || rows[110].Name != "v1.12.0" {
		t.Errorf("got %d rows, want those of 12, 120 to 129 and 1200 to 1299", len(rows))
	}
	if read := index.RowsRead() - before; read > n+111*12 {
		t.Errorf("read %d rows", read)
	}
	if got := take(t, n, x.RepositoryRows(core.WithSought(t.Context(), "p"), "", core.RepositoriesBySize, "")); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
	if got := take(t, n, x.RepositoryRows(core.WithSought(t.Context(), "q"), "team", core.RepositoriesByName, "")); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestChangesAreWrittenBehindAndReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := open(t, "")
		defer x.Close()
		complete(t, x)
		before := index.RowsRead()
		for n := range 10 {
			push(x, "team/app", n)
		}
		if read := index.RowsRead() - before; read != 0 {
			t.Errorf("%d rows were read before a batch is full", read)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if index.RowsRead() == before {
			t.Error("nothing was written after 200 ms")
		}
		push(x, "team/app", 10)
		if row, err := x.RepositoryRow(t.Context(), "team/app"); err != nil || row.Tags != 11 || row.Newest != "v1.10.0" {
			t.Errorf("at once: got %+v and error %v", row, err)
		}
		before = index.RowsRead()
		for n := range 100 {
			x.Apply(tagged("team/app", n))
		}
		if index.RowsRead() == before {
			t.Error("a full batch was not written")
		}
	})
}

// The changes that are behind at a stop are written, and a catalog that is whole is whole at the next start.
func TestACatalogIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	x := open(t, path)
	complete(t, x)
	push(x, "team/app", 1)
	must(t, x.Close())
	x = open(t, path)
	defer x.Close()
	if row, err := x.RepositoryRow(t.Context(), "team/app"); err != nil || row.Bytes != 4000 || !x.Whole() {
		t.Errorf("got %+v, error %v, and whole is %v", row, err, x.Whole())
	}
}

// A scan is cut off after each of its changes, as by a stop, and continued. Meanwhile things come
// and go, and what was seen of them before does not come back.
func TestADescriptionThatIsCutOffContinues(t *testing.T) {
	const repo, n = "team/app", 8
	var scan []store.Change
	for i := range n {
		c := held(repo, i)
		for _, blob := range c.Named {
			scan = append(scan, store.Change{Event: store.BlobLinked, Repo: repo, Digest: blob, Size: 1500})
		}
		scan = append(scan, c, tagged(repo, i))
	}
	errCut := errors.New("cut off")
	for cut := range len(scan) + 1 {
		path := filepath.Join(t.TempDir(), fmt.Sprint(cut, ".db"))
		x := open(t, path)
		must(t, x.Rebuild(t.Context(), entries()))
		err := x.Describe(t.Context(), func(yield func(store.Change, error) bool) {
			for _, c := range scan[:cut] {
				if !yield(c, nil) {
					return
				}
			}
			yield(store.Change{}, errCut)
		})
		if !errors.Is(err, errCut) || x.Whole() {
			t.Fatalf("cut off after %d: got error %v, and whole is %v", cut, err, x.Whole())
		}
		// Gone since the scan saw them, and new.
		gone := []store.Change{
			{Event: store.TagGone, Repo: repo, Tag: "v1.2.0"}, {Event: store.ImageGone, Repo: repo, Digest: image(repo, 2)},
			{Event: store.BlobUnlinked, Repo: repo, Digest: scan[8+1].Digest},
		}
		must(t, x.Close())
		x = open(t, path)
		err = x.Describe(t.Context(), func(yield func(store.Change, error) bool) {
			for i, c := range scan {
				if i == cut {
					for _, c := range gone {
						x.Apply(c)
					}
					push(x, repo, n)
				}
				if !yield(c, nil) {
					return
				}
			}
			if cut == len(scan) {
				for _, c := range gone {
					x.Apply(c)
				}
				push(x, repo, n)
			}
		})
		if err != nil || !x.Whole() {
			t.Fatalf("continued after %d: got error %v, and whole is %v", cut, err, x.Whole())
		}
		row, err := x.RepositoryRow(t.Context(), repo)
		// Seven images and the new one with a layer each, and the base.
		if err != nil || row.Tags != n || row.Manifests != n || row.Bytes != n*2500+1500 || row.Newest != "v1.8.0" {
			t.Fatalf("continued after %d: got %+v and error %v", cut, row, err)
		}
		must(t, x.Close())
	}
}

// A rebuild of the names while the catalog is filled begins a new file: what was filled in the old
// one is missing there.
func TestADescriptionOfAFileThatWasReplacedIsNotWhole(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	must(t, x.Rebuild(t.Context(), entries()))
	err := x.Describe(t.Context(), func(yield func(store.Change, error) bool) {
		must(t, x.Rebuild(t.Context(), entries()))
		yield(held("team/app", 1), nil)
	})
	if err == nil || x.Whole() {
		t.Errorf("got error %v, and whole is %v", err, x.Whole())
	}
}

// Until the catalog is whole, lists by name have all names.
func TestNamesAreShownBeforeTheyAreDescribed(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	rebuild(t, x,
		store.NameRow{Repo: "other", Digest: one}, store.NameRow{Repo: "team", Digest: one}, store.NameRow{Repo: "team/app", Digest: one},
		store.NameRow{Repo: "team/app", Tag: "v1", Digest: one}, store.NameRow{Repo: "teams", Digest: one})
	for in, want := range map[string][]string{"": {"other", "team", "team/app", "teams"}, "team": {"team", "team/app"}, "x": nil} {
		var got []string
		for _, row := range take(t, 9, x.RepositoryRows(t.Context(), in, core.RepositoriesByName, "")) {
			got = append(got, row.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in %q: got %q, want %q", in, got, want)
		}
	}
	tags := take(t, 9, x.TagRows(t.Context(), "team/app", core.TagsByName, ""))
	if len(tags) != 1 || tags[0].Name != "v1" || tags[0].Digest != one || tags[0].Image.Described {
		t.Errorf("got tags %+v", tags)
	}
	if row, err := x.ImageRow(t.Context(), "team/app", one); err != nil || row.Digest != one || row.Described {
		t.Errorf("got image %+v and error %v", row, err)
	}
	if state, err := x.CatalogState(t.Context()); err != nil || state != (core.CatalogState{Manifests: 4}) {
		t.Errorf("got state %+v and error %v", state, err)
	}
}

// BenchmarkApply is what a push of an image with two layers costs behind the request.
func BenchmarkApply(b *testing.B) {
	x := open(b, "")
	defer x.Close()
	complete(b, x)
	for n := 0; b.Loop(); n++ {
		push(x, "team/app", n)
	}
}

// BenchmarkTagRows is a page of 50 tags by version.
func BenchmarkTagRows(b *testing.B) {
	for _, n := range []int{100, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := open(b, "")
			defer x.Close()
			complete(b, x)
			for i := range n {
				push(x, "team/app", i)
			}
			for b.Loop() {
				take(b, 50, x.TagRows(context.Background(), "team/app", core.TagsByVersion, ""))
			}
		})
	}
}
