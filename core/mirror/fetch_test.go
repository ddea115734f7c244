package mirror_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A caller who may not fetch gets held content, and causes no request of the mirror.
func TestWithoutFetchNothingIsAsked(t *testing.T) {
	known := core.WithAccess(context.Background(), core.Access{Known: true})
	for _, how := range waysIn {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				for _, row := range []struct {
					who  context.Context
					want error
				}{{context.Background(), core.ErrUnauthorized}, {known, core.ErrDenied}} {
					if err := how.read(row.who, f, repo, f.image); !errors.Is(err, row.want) {
						t.Errorf("cold: got %v, want %v", err, row.want)
					}
				}
				f.saw(t)
				for _, brought := range waysIn {
					if err := brought.read(fetch, f, repo, f.image); err != nil {
						t.Fatal(err)
					}
				}
				f.up.Forget()
				// Also when it would be checked: what is held holds until max_stale.
				for _, wait := range []time.Duration{0, 2 * mirror.DefaultTTL} {
					time.Sleep(wait)
					for _, who := range []context.Context{context.Background(), known} {
						if err := how.read(who, f, repo, f.image); err != nil {
							t.Errorf("held, after %s: %v", wait, err)
						}
					}
				}
				f.saw(t)
			})
		})
	}
}

// When a tag was checked is kept beside it. A check of what the tag does not name was
// cut off from it, and says nothing.
func TestACheckOfAnotherDigestIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.stop()
		f.open(t, f.settings)
		record, err := json.Marshal(map[string]any{"digest": digest.FromString("another"), "time": time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.full.Put(t.Context(), "mirror/checks/"+repo+"/_tags/latest", record, bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		down := f.up.Fault(upstreamtest.Fault{Status: 503})
		if _, err := f.Manifest(fetch, repo, latest); !errors.Is(err, core.ErrUpstream) {
			t.Errorf("nobody can say what the tag names: got %v, want %v", err, core.ErrUpstream)
		}
		f.saw(t, headTag)
		down.Lift()
		time.Sleep(time.Minute)
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Error(err)
		}
		f.saw(t, headTag)
	})
}
