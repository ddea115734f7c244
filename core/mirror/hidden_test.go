package mirror_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
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

// way is one of the ways to read in a repository.
type way struct {
	name string
	read func(ctx context.Context, f *fixture, repo string, d digest.Digest) error
}

// waysIn are all of them. d is of a manifest, whose layer is the fixture's.
var waysIn = []way{
	{"tag", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Manifest(ctx, repo, latest)
		return err
	}},
	{"digest", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := f.Manifest(ctx, repo, core.Reference{Digest: d})
		return err
	}},
	{"blob", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := read(f, ctx, repo, f.blob)
		return err
	}},
	{"stat", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := f.Stat(ctx, repo, f.blob)
		return err
	}},
	{"tags", func(ctx context.Context, f *fixture, repo string, _ digest.Digest) error {
		_, err := list(f.Tags(ctx, repo, ""))
		return err
	}},
	{"referrers", func(ctx context.Context, f *fixture, repo string, d digest.Digest) error {
		_, err := list(f.Referrers(ctx, repo, d, "", ""))
		return err
	}},
}

// Content that was fetched with credentials is hidden until an anonymous request has
// shown it, also from the next process, and while the upstream cannot be asked. Content
// that was fetched without them is public.
func TestWhatCredentialsFetchedIsHiddenAlsoAfterARestart(t *testing.T) {
	for _, how := range waysIn {
		if how.name == "stat" || how.name == "referrers" {
			continue // it keeps nothing, as the list of referrers is empty
		}
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
				// A caller that the option private names is served without an anonymous
				// request.
				if err := how.read(insider, f, secretRepo, secret); err != nil {
					t.Fatal(err)
				}
				for _, r := range f.up.Recorded() {
					if r.Method == http.MethodHead {
						t.Errorf("the upstream was asked %s", r)
					}
				}
				f.network.Refuse(f.up.Registry, true)
				f.restart(t)
				if err := how.read(stranger, f, secretRepo, secret); !errors.Is(err, core.ErrUnauthorized) {
					t.Errorf("a stranger got %v, want %v", err, core.ErrUnauthorized)
				}
				if err := how.read(knownOne, f, secretRepo, secret); !errors.Is(err, core.ErrNameUnknown) {
					t.Errorf("a known caller got %v, want %v", err, core.ErrNameUnknown)
				}
				if err := how.read(insider, f, secretRepo, secret); err != nil {
					t.Errorf("one who may see it got %v", err)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if err := how.read(stranger, f, repo, f.image); err != nil {
					t.Fatal(err)
				}
				f.config.User, f.config.Secret = "user", "secret"
				f.network.Refuse(f.up.Registry, true)
				f.restart(t)
				if err := how.read(stranger, f, repo, f.image); err != nil {
					t.Errorf("what was fetched without credentials: %v", err)
				}
			})
		})
	}
}

// Hidden content is answered like a repository that the caller may not read, whatever
// the request and the upstream's answer are: no text reveals what exists.
func TestWhatIsHiddenSaysNothingMore(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
	}{
		{"works", upstreamtest.Fault{Path: "nothing"}},
		{"does not have it", upstreamtest.Fault{Status: 404}},
		{"denies it", upstreamtest.Fault{Status: 403}},
		{"is limited", upstreamtest.Fault{Status: 429}},
		{"is broken", upstreamtest.Fault{Status: 503}},
		{"is silent", upstreamtest.Fault{Hang: true}},
	} {
		t.Run("upstream "+row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
				for _, how := range waysIn {
					if err := how.read(insider, f, secretRepo, secret); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
					t.Fatal(err)
				}
				// The word of that day is too old to be taken as it is.
				time.Sleep(25 * time.Hour)
				f.up.Fault(row.fault)
				other := *f
				other.blob = digest.FromString("no such blob")
				for _, who := range []context.Context{stranger, knownOne} {
					want := core.AccessFrom(who).Hidden(secretRepo).Error()
					for _, how := range waysIn {
						for what, err := range map[string]error{
							"held":     how.read(who, f, secretRepo, secret),
							"not held": how.read(who, &other, secretRepo, digest.FromString("no such manifest")),
						} {
							if err == nil || err.Error() != want {
								t.Errorf("%s, %s: got %v, want %q", how.name, what, err, want)
							}
						}
					}
					if _, err := f.Manifest(who, secretRepo, core.Reference{Tag: "none"}); err == nil || err.Error() != want {
						t.Errorf("no such tag: got %v, want %q", err, want)
					}
				}
			})
		})
	}
}

// Before it is known what the upstream shows, credentials fetch nothing for a stranger.
func TestWhatCannotBeAskedIsNotShown(t *testing.T) {
	for _, how := range waysIn {
		synctest.Test(t, func(t *testing.T) {
			f, secret := hides(t, upstreamtest.Basic, mirror.Settings{})
			before := len(f.files(t))
			f.up.Fault(upstreamtest.Fault{Method: "HEAD", Status: 500})
			if how.name == "tags" {
				f.up.Fault(upstreamtest.Fault{Path: "/tags/", Status: 500})
			}
			for _, who := range []context.Context{stranger, knownOne} {
				if err := how.read(who, f, secretRepo, secret); !errors.Is(err, core.ErrUpstream) {
					t.Errorf("%s: got %v, want %v", how.name, err, core.ErrUpstream)
				}
			}
			if files := f.files(t); len(files) != before {
				t.Errorf("%s: %q are kept", how.name, files)
			}
		})
	}
}

func TestPurgeAsksAgainWhateverIsPurged(t *testing.T) {
	for _, ref := range []core.Reference{{}, latest} {
		synctest.Test(t, func(t *testing.T) {
			f, _ := hides(t, upstreamtest.Basic, mirror.Settings{})
			if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
				t.Fatal(err)
			}
			if _, err := f.Purge(insider, secretRepo, ref); err != nil {
				t.Fatal(err)
			}
			f.up.Forget()
			if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
				t.Errorf("got %v, want %v", err, core.ErrUnauthorized)
			}
			if len(f.up.Requests()) == 0 {
				t.Errorf("after a purge of %q the upstream was not asked", ref)
			}
		})
	}
}

// Content that is not shown even to our credentials says nothing about a repository: a
// mistyped digest does not hide images for a day.
func TestWhatIsMissingHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := hides(t, upstreamtest.Hub, mirror.Settings{})
		none := *f
		none.blob = digest.FromString("none")
		for _, how := range waysIn[1:4] { // those that name a digest
			err := how.read(stranger, &none, repo, digest.FromString("none"))
			if !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrBlobUnknown) {
				t.Errorf("%s: got %v", how.name, err)
			}
		}
		for _, how := range waysIn {
			if err := how.read(stranger, f, repo, f.image); err != nil {
				t.Errorf("%s of what is there: %v", how.name, err)
			}
		}
	})
}

// Once it is known that a repository is hidden, a stranger's question about it goes no
// further, whether it is held or not.
func TestStrangersAskNothingOfWhatIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := hides(t, upstreamtest.Hub, mirror.Settings{})
		if _, err := f.Manifest(insider, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
		f.up.Forget()
		for _, how := range waysIn {
			for _, d := range []digest.Digest{f.image, digest.FromString("none")} {
				if err := how.read(stranger, f, secretRepo, d); !errors.Is(err, core.ErrUnauthorized) {
					t.Errorf("%s: got %v", how.name, err)
				}
			}
		}
		f.saw(t)
	})
}

// A download for a hidden repository is separate: callers that request the same bytes elsewhere
// do not follow it.
func TestADownloadOfAHiddenRepositoryIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := hides(t, upstreamtest.Basic, mirror.Settings{})
		f.up.Fault(upstreamtest.Fault{Path: "/team/secret/blobs/", Stall: true, After: 1000})
		hidden, err := f.Blob(insider, secretRepo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		defer hidden.Close()
		f.up.Forget()
		if _, err := read(f, insider, repo, f.blob); err != nil {
			t.Fatal(err)
		}
		f.saw(t, "registry GET /v2/library/nginx/blobs/"+string(f.blob)+" basic")
	})
}

// An answer that is older than max_stale says nothing any more. Without it a
// repository that credentials have fetched from is hidden; and the upstream's next word
// counts, though it is another one.
func TestAHiddenAnswerEndsAtMaxStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{MaxStale: 10 * 24 * time.Hour})
		ref := core.Reference{Digest: secret}
		if _, err := f.Manifest(insider, secretRepo, ref); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(stranger, secretRepo, ref); !errors.Is(err, core.ErrUnauthorized) {
			t.Fatal(err)
		}
		f.network.Refuse(f.up.Registry, true)
		time.Sleep(11 * 24 * time.Hour)
		f.restart(t)
		if _, err := f.Manifest(stranger, secretRepo, ref); !errors.Is(err, core.ErrUnauthorized) {
			t.Errorf("the upstream is gone for longer than max_stale: got %v, want %v", err, core.ErrUnauthorized)
		}
		if _, err := f.Manifest(insider, secretRepo, ref); err != nil {
			t.Errorf("one who may see it: %v", err)
		}
		f.network.Refuse(f.up.Registry, false)
		time.Sleep(time.Minute)
		f.up.Fault(upstreamtest.Fault{Method: "HEAD", Status: 200, Header: http.Header{"Docker-Content-Digest": {string(secret)}}})
		if _, err := f.Manifest(stranger, secretRepo, ref); err != nil {
			t.Errorf("the upstream shows it to everybody now: %v", err)
		}
	})
}

// A client certificate is a credential: content that is shown only to it is hidden. An upstream
// that does not answer without one shows nothing to anonymous callers.
func TestACertificateIsACredential(t *testing.T) {
	for _, row := range []struct {
		name   string
		auth   tls.ClientAuthType
		public error // for a stranger, of public content
	}{
		{"that is asked for", tls.RequestClientCert, nil},
		{"that is required", tls.RequireAnyClientCert, core.ErrUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, mirror.Settings{})
			f.up.Blob("team/secret", layer)
			f.up.Manifest("team/secret", ocispec.MediaTypeImageManifest, document(len(layer)), "latest")
			target, err := url.Parse(f.up.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(target)
			memory := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return f.network.Dial(ctx, address, func(netip.AddrPort) error { return nil })
			}}
			defer memory.CloseIdleConnections()
			proxy.Transport = memory
			front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "team/secret") && len(r.TLS.PeerCertificates) == 0 {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				proxy.ServeHTTP(w, r)
			}))
			front.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that it refuses
			front.TLS = &tls.Config{ClientAuth: row.auth}
			front.StartTLS()
			defer front.Close()
			pool := x509.NewCertPool()
			pool.AddCert(front.Certificate())
			f.config = upstream.Config{
				Name: "docker.io", URLs: []string{front.URL}, CA: pool, Certificate: &front.TLS.Certificates[0],
				HeadTimeout: time.Minute, ConnectTimeout: time.Minute, StallTimeout: time.Minute, // this time is not fake
			}
			f.restart(t)
			defer f.stop() // before what it is connected to

			for _, when := range []string{"cold", "held"} {
				for _, how := range waysIn {
					if err := how.read(stranger, f, secretRepo, f.image); !errors.Is(err, core.ErrUnauthorized) {
						t.Errorf("%s, %s: a stranger got %v, want %v", when, how.name, err, core.ErrUnauthorized)
					}
					if err := how.read(insider, f, secretRepo, f.image); err != nil {
						t.Errorf("%s, %s: one who may see it got %v", when, how.name, err)
					}
					if err := how.read(stranger, f, repo, f.image); !errors.Is(err, row.public) {
						t.Errorf("%s, %s: of what is public a stranger got %v, want %v", when, how.name, err, row.public)
					}
				}
			}
		})
	}
}
