package mirror_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// On a page, what an upstream hides is like what is not held, in every word: else its answers would say which
// hidden repositories somebody has fetched.
func TestALookAtWhatIsHiddenIsLikeOneAtNothing(t *testing.T) {
	offered := way{"the upstream's tags", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		return firstOf(f.Tags(core.WithLook(ctx), repo, ""))
	}}
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
		f.index = true
		f.restart(t)
		if _, err := f.Manifest(insider, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		if _, err := list(f.Tags(insider, secretRepo, "")); err != nil {
			t.Fatal(err)
		}
		const nothing = "docker.io/team/nothing"
		compare := func(when string) {
			for name, who := range map[string]context.Context{"a stranger": stranger, "a known caller": knownOne} {
				for _, how := range append(slices.Clone(looks), offered) {
					hidden, absent := how.read(who, f, secretRepo, secret), how.read(who, f, nothing, secret)
					if hidden == nil || absent == nil || hidden.Error() != strings.ReplaceAll(absent.Error(), nothing, secretRepo) {
						t.Errorf("%s, %s, %s: hidden: %v; not held: %v", when, name, how.name, hidden, absent)
					}
				}
			}
		}
		compare("before anybody else asked")
		if _, err := f.Manifest(stranger, secretRepo, latest); err == nil {
			t.Fatal("it is not hidden")
		}
		compare("after a stranger was refused")
	})
}
