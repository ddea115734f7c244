package mirror_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// portals are what answers in an upstream's place.
var portals = map[string]upstreamtest.Fault{
	"a page":                {Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>Sign in</html>"},
	"a page without a type": {Status: 200, Body: "<html>Sign in</html>"},
	"nothing":               {Status: 200},
}

// A repository is not given a blob that another one holds because a portal says 200.
func TestAPortalAttestsNoBlob(t *testing.T) {
	for name, portal := range portals {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if _, err := read(f, fetch, repo, f.blob); err != nil {
					t.Fatal(err)
				}
				x := f.up.Fault(portal)
				if got, err := read(f, fetch, other, f.blob); !errors.Is(err, core.ErrUpstream) || bytes.HasPrefix(layer, got) && len(got) > 0 {
					t.Errorf("got %d bytes, %v, want none of the blob, and %v", len(got), err, core.ErrUpstream)
				}
				if got, err := list(f.Holders(fetch, f.blob)); err != nil || slices.Contains(got, other) {
					t.Errorf("holders are %q, %v", got, err)
				}
				x.Lift()
				if _, err := read(f, fetch, other, f.blob); !errors.Is(err, core.ErrBlobUnknown) {
					t.Errorf("got %v after it, want %v", err, core.ErrBlobUnknown)
				}
			})
		})
	}
}

// An upstream that says neither the digest nor the size of a blob shows by the bytes
// that a second repository has it too.
func TestABlobThatIsNotAttestedIsDownloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		f.up.Blob("library/httpd", layer)
		f.up.Fault(upstreamtest.Fault{Path: "/blobs/", NoLength: true, NoRange: true})
		for _, name := range []string{repo, other} {
			if got, err := read(f, fetch, name, f.blob); err != nil || !bytes.Equal(got, layer) {
				t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			}
		}
		if got, err := list(f.Holders(fetch, f.blob)); err != nil || !slices.Contains(got, other) {
			t.Errorf("holders are %q, %v", got, err)
		}
	})
}

// Hidden content does not become public because a portal answers 200 to an anonymous
// request.
func TestAPortalRevealsNothing(t *testing.T) {
	for name, portal := range portals {
		for _, how := range waysIn {
			t.Run(name+", "+how.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
					for _, way := range waysIn {
						if err := way.read(insider, f, secretRepo, secret); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(25 * time.Hour) // the upstream is asked again what it shows
					x := f.up.Fault(portal)
					if err := how.read(stranger, f, secretRepo, secret); err == nil {
						t.Error("it is shown while the portal answers")
					}
					x.Lift()
					for _, way := range waysIn {
						if err := way.read(stranger, f, secretRepo, secret); err == nil {
							t.Errorf("%s is shown after it", way.name)
						}
					}
				})
			})
		}
	}
}
