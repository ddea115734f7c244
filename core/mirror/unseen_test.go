package mirror_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A caller who may not see it cannot distinguish a hidden repository from a missing
// one: the words are the same, nothing is stored, and credentials are not used.
func TestHiddenAndAbsentAnswerAlike(t *testing.T) {
	const absent = "docker.io/team/absent"
	ways := append(waysIn, way{"head of a manifest", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := f.Resolve(ctx, repo, core.Reference{Digest: d})
		return err
	}}, way{"another tag", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Manifest(ctx, repo, core.Reference{Tag: "none"})
		return err
	}}, way{"another digest", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Manifest(ctx, repo, core.Reference{Digest: digest.FromString("none")})
		return err
	}}, way{"another blob", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Blob(ctx, repo, digest.FromString("none"))
		return err
	}})
	for _, kind := range []upstreamtest.Kind{upstreamtest.Basic, upstreamtest.Hub, upstreamtest.GHCR} {
		for name, who := range map[string]context.Context{"a stranger": stranger, "a known caller": knownOne} {
			for _, how := range ways {
				synctest.Test(t, func(t *testing.T) {
					f, secret := hides(t, kind, mirror.Settings{})
					before := len(f.files(t))
					f.up.Forget()
					for _, when := range []string{"first", "again"} {
						hidden, missing := how.read(who, f, secretRepo, secret), how.read(who, f, absent, secret)
						if hidden == nil || missing == nil || hidden.Error() != strings.ReplaceAll(missing.Error(), absent, secretRepo) {
							t.Errorf("%d, %s, %s, %s: hidden is %v, absent is %v", kind, name, how.name, when, hidden, missing)
						}
						want := core.AccessFrom(who).Hidden(secretRepo)
						if hidden == nil || hidden.Error() != want.Error() {
							t.Errorf("%d, %s, %s, %s: got %v, want %v", kind, name, how.name, when, hidden, want)
						}
					}
					synctest.Wait()
					if got := f.files(t); len(got) != before {
						t.Errorf("%d, %s, %s: kept %q", kind, name, how.name, got)
					}
					for _, r := range f.up.Recorded() {
						if r.Auth == "basic" {
							t.Errorf("%d, %s, %s: credentials asked %v", kind, name, how.name, r)
						}
					}
				})
			}
		}
	}
}

// In a public repository, missing content is "not found" for the first caller and for later ones,
// and existing content is served.
func TestWhatIsMissingInAPublicRepositoryIsNotFound(t *testing.T) {
	for _, kind := range []upstreamtest.Kind{upstreamtest.Hub, upstreamtest.GHCR} {
		for _, how := range waysIn[:4] {
			synctest.Test(t, func(t *testing.T) {
				f, _ := hides(t, kind, mirror.Settings{})
				f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "1.0")
				f.up.Untag("library/nginx", "latest")
				none := *f
				none.blob = digest.FromString("none")
				for range 2 {
					err := how.read(stranger, &none, repo, digest.FromString("none"))
					if !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrBlobUnknown) {
						t.Errorf("%d, %s: got %v", kind, how.name, err)
					}
				}
				if _, err := f.Manifest(stranger, repo, core.Reference{Tag: "1.0"}); err != nil {
					t.Errorf("%d, %s: what is there: %v", kind, how.name, err)
				}
			})
		}
	}
}
