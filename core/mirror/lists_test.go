package mirror_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestTagsAreTheUpstreamsAndCachedAsTagsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		const get = "registry GET /v2/library/nginx/tags/list?n=1000"
		read := func(after string, want error, tags ...string) {
			t.Helper()
			got, err := list(f.Tags(fetch, repo, after))
			if !errors.Is(err, want) || !slices.Equal(got, tags) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tags, want)
			}
		}
		f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "1.0", "2.0")
		read("", nil, "1.0", "2.0", "latest")
		read("1.0", nil, "2.0", "latest")
		f.saw(t, get)
		time.Sleep(mirror.DefaultTTL)
		x := f.up.Fault(upstreamtest.Fault{Status: 503})
		read("", nil, "1.0", "2.0", "latest")
		f.saw(t, get)
		time.Sleep(mirror.DefaultMaxStale)
		read("", core.ErrUpstream)
		x.Lift()
		time.Sleep(time.Minute)
		read("", nil, "1.0", "2.0", "latest")
		time.Sleep(mirror.DefaultTTL)
		f.up.Fault(upstreamtest.Fault{Status: 404})
		f.up.Forget()
		read("", core.ErrNameUnknown)
		read("", core.ErrNameUnknown)
		f.saw(t, get) // and the second time it was remembered
	})
}

func TestAListThatWasDeniedIsNotServedWhenTheUpstreamIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := list(f.Tags(fetch, repo, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
		denied := f.up.Fault(upstreamtest.Fault{Status: 403})
		if got, err := list(f.Tags(fetch, repo, "")); !errors.Is(err, core.ErrDenied) {
			t.Errorf("got %q, %v, want %v", got, err, core.ErrDenied)
		}
		denied.Lift()
		f.network.Refuse(f.up.Registry, true)
		f.restart(t)
		if got, err := list(f.Tags(fetch, repo, "")); !errors.Is(err, core.ErrUpstream) {
			t.Errorf("got %q, %v, want %v", got, err, core.ErrUpstream)
		}
	})
}

func TestReferrersAreTheUpstreams(t *testing.T) {
	referrer := `{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"sha256:` + strings.Repeat("a", 64) + `","size":3,"artifactType":"x/sbom"}`
	index := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[` + referrer + `]}`
	for _, row := range []struct {
		name string
		api  bool
	}{{"by the API", true}, {"by the tag schema", false}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				api := "registry GET /v2/library/nginx/referrers/" + string(f.image)
				want := []string{api}
				if row.api {
					f.up.Fault(upstreamtest.Fault{Path: "/referrers/", Status: 200, Body: index, Header: http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}})
				} else {
					tag := strings.Replace(string(f.image), ":", "-", 1)
					f.up.Manifest("library/nginx", ocispec.MediaTypeImageIndex, []byte(index), tag)
					want = append(want, "registry GET /v2/library/nginx/manifests/"+tag)
				}
				for _, ask := range []struct {
					artifact string
					n        int
				}{{"", 1}, {"x/sbom", 1}, {"x/other", 0}} {
					got, err := list(f.Referrers(fetch, repo, f.image, ask.artifact, ""))
					if err != nil || len(got) != ask.n {
						t.Errorf("%q: got %v, %v, want %d", ask.artifact, got, err, ask.n)
					}
				}
				f.saw(t, want...)
			})
		})
	}
}
