package mirror_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// firstOf returns the first error of a list.
func firstOf[T any](rows iter.Seq2[T, error]) error {
	for _, err := range rows {
		return err
	}
	return nil
}

// looks are the ways in which a page looks at a repository. d is of a manifest, whose layer is the
// fixture's.
var looks = []way{
	{"repository", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.RepositoryRow(ctx, repo)
		return err
	}},
	{"tags", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		return firstOf(f.TagRows(ctx, repo, core.TagsByVersion, ""))
	}},
	{"tag", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.TagRow(ctx, repo, "latest")
		return err
	}},
	{"images", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		return firstOf(f.ImageRows(ctx, repo, ""))
	}},
	{"image", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := f.ImageRow(ctx, repo, d)
		return err
	}},
	{"what an image names", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := f.ImageNames(ctx, repo, d)
		return err
	}},
	{"manifest", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := f.Manifest(core.WithLook(ctx), repo, core.Reference{Digest: d})
		return err
	}},
	{"manifest of a tag", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Resolve(core.WithLook(ctx), repo, latest)
		return err
	}},
	{"size of a blob", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Stat(core.WithLook(ctx), repo, f.blob)
		return err
	}},
	{"blob", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		b, err := f.Blob(core.WithLook(ctx), repo, f.blob)
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = io.Copy(io.Discard, b)
		return err
	}},
}

// hiddenFromPages is the refusal of a page, with a name and without one.
const hiddenFromPages = "repository not known to registry: " + secretRepo

// A page of a mirror asks no upstream, counts no pull, and shows what is held.
func TestLooksAskNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		counted := &keeper{room: func(int64) bool { return true }}
		f.keeper, f.index = counted, true
		f.restart(t)
		for _, how := range looks {
			if err := how.read(fetch, f, repo, f.image); !errors.Is(err, core.ErrNameUnknown) && !errors.Is(err, core.ErrBlobUnknown) && !errors.Is(err, core.ErrManifestUnknown) {
				t.Errorf("%s that is not held: got error %v", how.name, err)
			}
		}
		f.saw(t)
		pull(t, f)
		f.up.Forget()
		pulls := counted.pulls()
		time.Sleep(time.Hour) // the tag must be checked before it is served
		for _, who := range []context.Context{fetch, context.Background()} {
			for _, how := range looks {
				if err := how.read(who, f, repo, f.image); err != nil {
					t.Errorf("%s: got error %v", how.name, err)
				}
			}
		}
		if now := counted.pulls(); now != pulls {
			t.Errorf("%d pulls were counted", now-pulls)
		}
		f.saw(t)
		row, err := f.RepositoryRow(t.Context(), repo)
		if want := int64(len(layer) + len(document(len(layer)))); err != nil || row.Bytes != want || row.Tags != 1 {
			t.Errorf("got %+v and error %v, want %d bytes", row, err, want)
		}
		for in, want := range map[string]int{"": 1, "docker.io": 1, "ghcr.io": 0} {
			if got, err := list(f.RepositoryRows(t.Context(), in, core.RepositoriesByPush, "")); err != nil || len(got) != want {
				t.Errorf("in %q: got %+v and error %v", in, got, err)
			}
		}
	})
}

// A page is shown the list that the upstream gave last, however old, and as of when.
func TestLooksShowTheListThatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		see := func(want error, tags ...string) (asOf time.Time) {
			t.Helper()
			ctx, notes := core.WithNotes(core.WithLook(fetch))
			got, err := list(f.Tags(ctx, repo, ""))
			if !errors.Is(err, want) || !slices.Equal(got, tags) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tags, want)
			}
			refers, err := list(f.Referrers(core.WithLook(fetch), repo, f.image, "", ""))
			if err != nil || len(refers) > 0 {
				t.Errorf("referrers: got %v, %v", refers, err)
			}
			return notes.AsOf()
		}
		see(core.ErrNameUnknown)
		f.saw(t)
		asked := time.Now()
		if _, err := list(f.Tags(core.WithoutLook(core.WithLook(fetch)), repo, "")); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "new")
		time.Sleep(2 * mirror.DefaultMaxStale)
		if at := see(nil, "latest"); !at.Equal(asked) {
			t.Errorf("as of %v, want %v", at, asked)
		}
		f.restart(t)
		see(nil, "latest")
		f.saw(t)
	})
}

// pull fetches the fixture's image.
func pull(t *testing.T, f *fixture) {
	t.Helper()
	if _, err := f.Manifest(fetch, repo, latest); err != nil {
		t.Fatal(err)
	}
	if _, err := read(f, fetch, repo, f.blob); err != nil {
		t.Fatal(err)
	}
}

// Content that the upstream hides is not shown either, in lists and in searches.
func TestLooksShowNothingHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
		f.index = true
		f.restart(t)
		if _, err := f.Manifest(insider, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		if _, err := read(f, insider, secretRepo, f.blob); err != nil {
			t.Fatal(err)
		}
		if _, err := list(f.Tags(insider, secretRepo, "")); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		for _, row := range []struct {
			name  string
			who   context.Context
			shown bool
		}{{"a stranger", stranger, false}, {"a known caller", knownOne, false}, {"one who may see it", insider, true}} {
			for _, how := range looks {
				err := how.read(row.who, f, secretRepo, secret)
				if want := hiddenFromPages; row.shown && err != nil || !row.shown && (err == nil || err.Error() != want) {
					t.Errorf("%s, %s: got error %v", row.name, how.name, err)
				}
			}
			_, err := list(f.Tags(core.WithLook(row.who), secretRepo, ""))
			if want := hiddenFromPages; row.shown && err != nil || !row.shown && (err == nil || err.Error() != want) {
				t.Errorf("%s, the upstream's tags: got error %v", row.name, err)
			}
			repos, err := list(f.RepositoryRows(row.who, "", core.RepositoriesBySize, ""))
			content, contentErr := list(f.ContentRows(row.who, string(secret)[:20], ""))
			if err != nil || contentErr != nil || (len(repos) == 1) != row.shown || (len(content) == 1) != row.shown {
				t.Errorf("%s: got %+v, %+v, %v and %v", row.name, repos, content, err, contentErr)
			}
		}
		f.saw(t)
	})
}

// A tag's record says when each of its digests was first and last seen.
func TestATagThatMovesKeepsWhenItWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		f.index = true
		f.restart(t)
		first := time.Now().UTC()
		pull(t, f)
		time.Sleep(time.Hour)
		last := time.Now().UTC()
		pull(t, f) // the tag is checked, and still names the same
		time.Sleep(time.Hour)
		moved := time.Now().UTC()
		now := f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, append(document(len(layer)), ' '), "latest")
		pull(t, f)
		row, err := f.TagRow(t.Context(), repo, "latest")
		want := core.TagState{Digest: f.image, Since: first, Seen: last}
		if err != nil || row.Digest != now || !row.Since.Equal(moved) || len(row.Before) != 1 || row.Before[0] != want {
			t.Errorf("got %+v and error %v, want %+v before", row.TagState, err, want)
			t.Logf("before: %+v", row.Before)
		}
	})
}

// A mirror that forgets an image forgets the list of the upstream's tags, too, as with a purge.
func TestADeletedImageTakesTheListOfTagsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		pull(t, f)
		for what, remove := range map[string]func() error{
			"a tag":      func() error { return f.DeleteTag(fetch, repo, "latest") },
			"a manifest": func() error { return f.DeleteManifest(fetch, repo, f.image) },
		} {
			pull(t, f)
			if _, err := list(f.Tags(fetch, repo, "")); err != nil {
				t.Fatal(err)
			}
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			if got, err := list(f.Tags(core.WithLook(fetch), repo, "")); !errors.Is(err, core.ErrNameUnknown) {
				t.Errorf("after the deletion of %s: got %q, %v", what, got, err)
			}
		}
	})
}
