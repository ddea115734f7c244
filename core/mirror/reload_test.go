package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// another is what a reload makes: one more mirror over the same content, that asks as
// change says. It is closed with the test.
func (f *fixture) another(t *testing.T, change func(*upstream.Config), shared mirror.Shared) *fixture {
	t.Helper()
	other := *f
	change(&other.config)
	client, err := upstream.New(other.config)
	if err != nil {
		t.Fatal(err)
	}
	other.Mirror, err = mirror.New(mirror.Config{
		Name: "docker.io", Local: f.local, State: f.full, Upstream: client, Settings: f.settings, Shared: shared, Audience: "another",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = other.Mirror.Close(), client.Close() })
	return &other
}

func withCredentials(c *upstream.Config) { c.User, c.Secret = "user", "secret" }

// secretUpstream starts a mirror without credentials of an upstream that hides
// team/secret.
func secretUpstream(t *testing.T, settings mirror.Settings) (f *fixture, secret digest.Digest) {
	t.Helper()
	f = startAs(t, upstreamtest.Config{Kind: upstreamtest.Basic}, settings)
	f.up.Blob("team/secret", layer)
	secret = f.up.Manifest("team/secret", ocispec.MediaTypeImageManifest, append(document(len(layer)), '\n'), "latest")
	referrers := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, digest.FromString("x"))
	f.up.Manifest("team/secret", ocispec.MediaTypeImageIndex, []byte(referrers), strings.Replace(string(secret), ":", "-", 1))
	f.up.Private("team/secret")
	return f, secret
}

// Content that a mirror with credentials has fetched stays hidden when the configuration
// is changed back, whatever was requested before, and whether or not the upstream can be
// asked.
func TestAReloadWithCredentialsAndBackShowsNothingHidden(t *testing.T) {
	for _, first := range append(waysIn, way{"nothing", nil}) {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s asked before, upstream down %t", first.name, down), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, secret := secretUpstream(t, mirror.Settings{TTL: 365 * 24 * time.Hour, NotFoundTTL: time.Nanosecond})
					if first.read != nil {
						if err := first.read(stranger, f, secretRepo, secret); err == nil && first.name != "referrers" {
							t.Fatal("the upstream shows it to everybody")
						}
					}
					other := f.another(t, withCredentials, nil)
					for _, how := range waysIn {
						if err := how.read(insider, other, secretRepo, secret); err != nil {
							t.Fatalf("%s with credentials: %v", how.name, err)
						}
					}
					synctest.Wait() // it is in the store
					f.network.Refuse(f.up.Registry, down)
					for _, how := range waysIn {
						for _, who := range []context.Context{stranger, knownOne, context.Background()} {
							if err := how.read(who, f, secretRepo, secret); err == nil {
								t.Errorf("%s was shown", how.name)
							}
						}
						if err := how.read(insider, f, secretRepo, secret); err != nil {
							t.Errorf("%s is not shown to one who may see it: %v", how.name, err)
						}
					}
					if names, err := list(f.Repositories(stranger, "")); err != nil || len(names) != 0 {
						t.Errorf("the catalog has %q, %v", names, err)
					}
				})
			})
		}
	}
}

// A record that is written while a request runs counts for it: what credentials have fetched
// meanwhile is not served because nothing was known at the start.
func TestARequestSeesRightsThatAreWrittenMeanwhile(t *testing.T) {
	for _, how := range waysIn {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, secret := secretUpstream(t, mirror.Settings{TTL: 365 * 24 * time.Hour, NotFoundTTL: time.Nanosecond})
				other := f.another(t, withCredentials, nil)
				var looked atomic.Bool
				f.full.got = func(key string) {
					if !strings.HasSuffix(key, "/_shown") || looked.Swap(true) {
						return
					}
					// The request has found no record, and not looked for content yet.
					for _, how := range waysIn {
						if err := how.read(insider, other, secretRepo, secret); err != nil {
							t.Errorf("%s with credentials: %v", how.name, err)
						}
					}
					synctest.Wait() // it is in the store
				}
				if err := how.read(stranger, f, secretRepo, secret); err == nil || !looked.Load() {
					t.Errorf("it was shown, or nothing was looked up: %v", looked.Load())
				}
			})
		})
	}
}

// A repository that was public when one mirror asked is hidden for all of them once
// another has heard so.
func TestTheNewestAnswerCountsForAllMirrorsOfAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := secretUpstream(t, mirror.Settings{TTL: 365 * 24 * time.Hour, NotFoundTTL: time.Nanosecond})
		one, two := f.another(t, withCredentials, nil), f.another(t, withCredentials, nil)
		shown := f.up.Fault(upstreamtest.Fault{Method: "HEAD", Status: 200,
			Header: map[string][]string{"Docker-Content-Digest": {string(secret)}}})
		if _, err := one.Manifest(stranger, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		shown.Lift()
		time.Sleep(24 * time.Hour)
		if _, err := two.Manifest(stranger, secretRepo, latest); err == nil {
			t.Fatal("two was not told that it is hidden now")
		}
		f.up.Forget()
		for _, m := range []*fixture{f, one, two} {
			if _, err := m.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
				t.Errorf("got %v, want %v", err, core.ErrUnauthorized)
			}
		}
		f.saw(t)
	})
}

// If one mirror was denied content, another mirror of the same content does not serve it
// from memory, and a purge by one applies to the others: also to remembered "not found",
// and to entries from other processes.
func TestMirrorsOfAStoreForgetTogether(t *testing.T) {
	t.Run("a denied tag", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{TTL: time.Hour, NotFoundTTL: time.Nanosecond})
			other := f.another(t, func(*upstream.Config) {}, nil)
			if _, err := f.Manifest(fetch, repo, latest); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // it is in the store
			other.SetSettings(mirror.Settings{TTL: time.Nanosecond})
			time.Sleep(time.Second)
			f.up.Fault(upstreamtest.Fault{Status: 403})
			if _, err := other.Manifest(fetch, repo, latest); !errors.Is(err, core.ErrDenied) {
				t.Fatal(err)
			}
			if _, err := f.Manifest(fetch, repo, latest); !errors.Is(err, core.ErrDenied) {
				t.Errorf("got %v, want %v", err, core.ErrDenied)
			}
		})
	})
	t.Run("what was not there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{NotFoundTTL: time.Hour})
			none := core.Reference{Tag: "none"}
			if _, err := f.Manifest(fetch, repo, none); !errors.Is(err, core.ErrManifestUnknown) {
				t.Fatal(err)
			}
			f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "none")
			other := f.another(t, func(*upstream.Config) {}, nil)
			if _, err := other.Purge(fetch, repo, none); err != nil { // by another configuration
				t.Fatal(err)
			}
			if _, err := f.Manifest(fetch, repo, none); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("what other processes told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{TTL: time.Hour})
			board := new(board)
			one := f.another(t, func(*upstream.Config) {}, board)
			two := f.another(t, func(*upstream.Config) {}, board)
			if _, err := one.Manifest(fetch, repo, latest); err != nil {
				t.Fatal(err)
			}
			ref := core.Reference{Digest: f.image}
			if _, err := two.Manifest(fetch, repo, ref); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := two.Purge(fetch, repo, core.Reference{}); err != nil {
				t.Fatal(err)
			}
			board.Delete(fetch, "purged/another/"+repo) // this process knows it by itself
			f.up.Forget()
			if _, err := one.Manifest(fetch, repo, latest); err != nil {
				t.Error(err)
			}
			f.saw(t, getTag)
		})
	})
}

// After any damage to a record of rights, the repository is hidden until the upstream was asked:
// a flipped bit must not turn "hidden" into "shown".
func TestADamagedRecordOfRightsHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{TTL: 365 * 24 * time.Hour})
		for _, how := range waysIn {
			if err := how.read(insider, f, secretRepo, secret); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Fatal(err)
		}
		record := filepath.Join(f.path, "mirrors", "objects", "mirror", "rights", secretRepo, "_shown")
		good, err := os.ReadFile(record)
		if err != nil || !bytes.Contains(good, []byte(`"hidden":true`)) {
			t.Fatalf("%s, %v", good, err)
		}
		damaged := map[string][]byte{
			"empty": {}, "null": []byte("null"), "no members": []byte("{}"), "a list": []byte("[]"),
			"another record": []byte(`{"digest":"sha256:abc","time":"2026-11-29T00:00:00Z"}`),
			"hidden is gone": []byte(`{"asked":"2026-11-29T00:00:00Z"}`),
			"two records":    append(bytes.Clone(good), `{"hidden":false}`...),
			"zeros":          make([]byte, len(good)),
		}
		for i := range good {
			damaged[fmt.Sprint("cut after ", i)] = good[:i]
			for bit := range 8 {
				flipped := bytes.Clone(good)
				flipped[i] ^= 1 << bit
				damaged[fmt.Sprintf("bit %d of byte %d flipped: %q", bit, i, flipped)] = flipped
			}
		}
		without := *f
		f.config.User, f.config.Secret = "", ""
		for name, data := range damaged {
			f.stop()
			if err := os.WriteFile(record, data, 0o600); err != nil {
				t.Fatal(err)
			}
			f.network.Refuse(f.up.Registry, true)
			f.open(t, f.settings)
			for _, how := range waysIn {
				if err := how.read(stranger, f, secretRepo, secret); err == nil {
					t.Errorf("%s: %s was shown", name, how.name)
				}
			}
			if names, err := list(f.Repositories(stranger, "")); err != nil || len(names) != 0 {
				t.Errorf("%s: the catalog has %q, %v", name, names, err)
			}
		}
		// The upstream puts it right.
		f.config = without.config
		f.network.Refuse(f.up.Registry, false)
		f.restart(t)
		time.Sleep(time.Minute)
		if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Errorf("got %v, want %v", err, core.ErrUnauthorized)
		}
		if again, err := os.ReadFile(record); err != nil || !bytes.Contains(again, []byte(`"hidden":true`)) {
			t.Errorf("the record is %s, %v", again, err)
		}
	})
}

// Content that was fetched with credentials is not stored if that cannot be recorded:
// the next process would treat it as public.
func TestWhatCannotBeRecordedAsHiddenIsNotKept(t *testing.T) {
	for _, how := range waysIn {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
				f.full.refuse("mirror/rights/", true)
				if err := how.read(insider, f, secretRepo, secret); err != nil {
					t.Errorf("one who may see it got %v", err)
				}
				f.full.refuse("mirror/rights/", false)
				f.config.User, f.config.Secret = "", ""
				f.restart(t)
				f.network.Refuse(f.up.Registry, true)
				if err := how.read(stranger, f, secretRepo, secret); err == nil {
					t.Error("it was shown to a stranger")
				}
			})
		})
	}
}
