package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/transfer"
)

// listed is a source of empty indexes.
type listed struct {
	repos     map[string][]transfer.Image
	manifests map[digest.Digest][]byte
	broken    string // a repository that cannot be read
}

func (l *listed) Repositories(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(l.repos)) {
			if !yield(name, nil) {
				return
			}
		}
	}
}

func (l *listed) Images(_ context.Context, repo string) ([]transfer.Image, error) {
	if repo == l.broken {
		return nil, errors.New("it cannot be read")
	}
	images := slices.Clone(l.repos[repo])
	for i := range images {
		images[i].Tags = slices.Clone(images[i].Tags)
	}
	return images, nil
}

func (l *listed) Manifest(_ context.Context, _ string, d digest.Digest) ([]byte, error) {
	return l.manifests[d], nil
}

func (l *listed) Blob(context.Context, string, digest.Digest) (io.ReadCloser, int64, error) {
	return nil, 0, transfer.ErrAbsent
}

// image adds an image to a repository, with tags that were set at a time; zero is unknown.
func (l *listed) image(repo, name string, at time.Time, tags ...string) digest.Digest {
	data := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"name":%q}}`, ocispec.MediaTypeImageIndex, name)
	image := transfer.Image{Digest: digest.FromBytes(data), MediaType: ocispec.MediaTypeImageIndex}
	for _, tag := range tags {
		image.Tags = append(image.Tags, transfer.Tag{Name: tag, Since: at})
	}
	l.manifests[image.Digest] = data
	l.repos[repo] = append(l.repos[repo], image)
	return image.Digest
}

// openStore opens a private store, and the bucket below it.
func openStore(t *testing.T) (*store.Store, bucket.Bucket) {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), storage.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, b
}

// Of two spellings with one tag the tag that was set later wins, in any order and again in a second
// import. Both images are there by their digests.
func TestTwoSpellingsWithOneTag(t *testing.T) {
	early, late := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, row := range map[string]struct {
		short, long time.Time // of the tag, in app and in library/app
		wins        string
		reason      []string
	}{
		"the first is newer":       {late, early, "app", []string{"app:latest", "2026-02-03T04:05:06Z", "2026-01-02T03:04:05Z"}},
		"the second is newer":      {early, late, "library/app", []string{"library/app:latest", "2026-02-03T04:05:06Z", "2026-01-02T03:04:05Z"}},
		"one has an unknown time":  {time.Time{}, early, "library/app", []string{"an unknown time"}},
		"they have the same time":  {early, early, "app", nil},
		"no time is known of both": {time.Time{}, time.Time{}, "app", nil},
	} {
		t.Run(name, func(t *testing.T) {
			source := &listed{repos: map[string][]transfer.Image{}, manifests: map[digest.Digest][]byte{}}
			digests := map[string]digest.Digest{
				"app":         source.image("app", "short", row.short, "latest"),
				"library/app": source.image("library/app", "long", row.long, "latest", "only-here"),
			}
			source.image("app", "the same in both", early, "same")
			source.image("library/app", "the same in both", late, "same")
			s, b := openStore(t)
			for round := range 2 {
				var skipped []transfer.Item
				_, err := transfer.Import(t.Context(), transfer.Config{
					Source: source, Target: s, Notes: b,
					Name: func(name string) (string, error) { return "library/" + strings.TrimPrefix(name, "library/"), nil },
					Report: func(item transfer.Item) {
						if item.Outcome != transfer.Imported && item.Outcome != transfer.Unchanged {
							skipped = append(skipped, item)
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				if len(skipped) != 1 || skipped[0].Outcome != transfer.Skipped || skipped[0].Source == row.wins || skipped[0].Reference != "latest" {
					t.Fatalf("import %d skipped %+v", round, skipped)
				}
				for _, part := range row.reason {
					if !strings.Contains(skipped[0].Reason, part) {
						t.Errorf("the reason %q lacks %q", skipped[0].Reason, part)
					}
				}
				if got, err := s.Resolve(t.Context(), "library/app", core.Reference{Tag: "latest"}); err != nil || got.Digest != digests[row.wins] {
					t.Errorf("latest is %s, %v, want that of %s", got.Digest, err, row.wins)
				}
				for from, d := range digests {
					if _, err := s.Resolve(t.Context(), "library/app", core.Reference{Digest: d}); err != nil {
						t.Errorf("%s by digest: %v", from, err)
					}
				}
				for _, tag := range []string{"only-here", "same"} {
					if _, err := s.Resolve(t.Context(), "library/app", core.Reference{Tag: tag}); err != nil {
						t.Errorf("%s: %v", tag, err)
					}
				}
			}
		})
	}
}

// A spelling that cannot be read is left out, and decides nothing about the other one.
func TestASpellingThatCannotBeRead(t *testing.T) {
	source := &listed{repos: map[string][]transfer.Image{}, manifests: map[digest.Digest][]byte{}, broken: "library/app"}
	source.image("app", "short", time.Time{}, "latest")
	source.image("library/app", "long", time.Time{}, "latest")
	outcomes := map[string]transfer.Outcome{}
	s, b := openStore(t)
	_, err := transfer.Import(t.Context(), transfer.Config{
		Source: source, Target: s, Notes: b,
		Name:   func(name string) (string, error) { return "library/" + strings.TrimPrefix(name, "library/"), nil },
		Report: func(item transfer.Item) { outcomes[item.Source+" "+item.Reference] = item.Outcome },
	})
	want := map[string]transfer.Outcome{"app latest": transfer.Imported, "library/app ": transfer.LeftOut}
	if err != nil || !maps.Equal(outcomes, want) {
		t.Errorf("got %v, %v, want %v", outcomes, err, want)
	}
}
