package mirror_test

import (
	"errors"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
)

// The very next read requests purged content again, however fresh it was.
func TestPurge(t *testing.T) {
	for _, row := range []struct {
		name      string
		ref       func(*fixture) core.Reference
		tags      int
		manifests int
		saw       func(*fixture) []string
	}{
		{"a tag", func(*fixture) core.Reference { return latest }, 1, 0,
			func(*fixture) []string { return []string{getTag} }},
		{"a manifest", func(f *fixture) core.Reference { return core.Reference{Digest: f.image} }, 1, 1,
			func(f *fixture) []string {
				return []string{getTag, "registry GET /v2/library/nginx/blobs/" + string(f.blob)}
			}},
		{"a repository", func(*fixture) core.Reference { return core.Reference{} }, 1, 1,
			func(f *fixture) []string {
				return []string{getTag, "registry GET /v2/library/nginx/blobs/" + string(f.blob)}
			}},
		{"what is not held", func(*fixture) core.Reference { return core.Reference{Tag: "none"} }, 0, 0,
			func(*fixture) []string { return nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, mirror.Settings{TTL: time.Hour, NotFoundTTL: time.Hour})
			pull := func() {
				t.Helper()
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				if _, err := read(f, fetch, repo, f.blob); err != nil {
					t.Fatal(err)
				}
			}
			pull()
			f.up.Forget()
			got, err := f.Purge(t.Context(), repo, row.ref(f))
			if err != nil || len(got.Tags) != row.tags || len(got.Manifests) != row.manifests {
				t.Errorf("purged %v and %v, %v", got.Tags, got.Manifests, err)
			}
			pull()
			f.saw(t, row.saw(f)...)
		})
	}
	t.Run("an answer that it is not there", func(t *testing.T) {
		f := start(t, mirror.Settings{TTL: time.Hour, NotFoundTTL: time.Hour})
		for _, ref := range []core.Reference{{Tag: "none"}, {}} {
			_, _ = f.Manifest(fetch, repo, core.Reference{Tag: "none"})
			f.up.Forget()
			if _, err := f.Purge(t.Context(), repo, ref); err != nil {
				t.Error(err)
			}
			_, _ = f.Manifest(fetch, repo, core.Reference{Tag: "none"})
			f.saw(t, "registry GET /v2/library/nginx/manifests/none")
		}
	})
	t.Run("of another mirror", func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Purge(t.Context(), "ghcr.io/a/b", core.Reference{}); !errors.Is(err, core.ErrNameUnknown) {
			t.Errorf("got %v", err)
		}
	})
}
