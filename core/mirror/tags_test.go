package mirror_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
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

// Every row begins with a tag that was checked a TTL ago, and asks once, and again at
// once.
func TestAnExpiredTag(t *testing.T) {
	newer := append(document(len(layer)), '\n')
	getNew := "registry GET /v2/library/nginx/manifests/" + string(digest.FromBytes(newer))
	publish := func(f *fixture) { f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, newer, "latest") }
	schema1 := http.Header{"Content-Type": {"application/vnd.docker.distribution.manifest.v1+prettyjws"}}
	fault := func(x upstreamtest.Fault) func(*fixture) { return func(f *fixture) { f.up.Fault(x) } }
	for _, row := range []struct {
		name  string
		cause func(f *fixture)
		want  error // nil: the tag is answered
		moved bool  // with the new digest
		saw   []string
		took  time.Duration
		again []string
	}{
		{"that names the same costs one HEAD", func(*fixture) {}, nil, false, []string{headTag}, 0, nil},
		{"that names another costs a HEAD and a GET", publish, nil, true, []string{headTag, getNew}, 0, nil},

		// A HEAD never decides a refusal: after any other answer to it, a GET decides.
		{"is got after a HEAD without a digest", fault(upstreamtest.Fault{Method: "HEAD", NoDigest: true}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD of schema 1", fault(upstreamtest.Fault{Method: "HEAD", Header: schema1}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 400", fault(upstreamtest.Fault{Method: "HEAD", Status: 400}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 401", fault(upstreamtest.Fault{Method: "HEAD", Status: 401}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 403", fault(upstreamtest.Fault{Method: "HEAD", Status: 403}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 404", fault(upstreamtest.Fault{Method: "HEAD", Status: 404}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 405", fault(upstreamtest.Fault{Method: "HEAD", Status: 405}), nil, false, []string{headTag, getTag}, 0, nil},
		{"is got after a HEAD with 501", fault(upstreamtest.Fault{Method: "HEAD", Status: 501}), nil, false, []string{headTag, getTag}, 0, nil},

		// A GET after these would count as a pull, or add to the trouble. What is held is
		// served, and the upstream left alone for a while.
		{"is stale after a 429", fault(upstreamtest.Fault{Status: 429}), nil, false, []string{headTag}, 0, nil},
		{"is stale after a 500", fault(upstreamtest.Fault{Status: 500}), nil, false, []string{headTag}, 0, nil},
		{"is stale after a 503", fault(upstreamtest.Fault{Status: 503}), nil, false, []string{headTag}, 0, nil},
		{"is stale after silence", fault(upstreamtest.Fault{Hang: true}), nil, false, []string{headTag}, upstream.DefaultHeadTimeout, nil},
		{"is stale while nobody accepts", func(f *fixture) { f.network.BlackHole(f.up.Registry, true) }, nil, false, nil, upstream.DefaultConnectTimeout, nil},
		{"is stale while connections are refused", func(f *fixture) { f.network.Refuse(f.up.Registry, true) }, nil, false, nil, 0, nil},

		// A no is an answer.
		{"is not served after a 401", fault(upstreamtest.Fault{Status: 401}), core.ErrDenied, false, []string{headTag, getTag}, 0, []string{headTag, getTag}},
		{"is not served after a 403", fault(upstreamtest.Fault{Status: 403}), core.ErrDenied, false, []string{headTag, getTag}, 0, []string{headTag, getTag}},
		{"is not served after a 404 with gone drop, which is remembered", func(f *fixture) {
			f.SetSettings(mirror.Settings{DropGone: true})
			f.up.Untag("library/nginx", "latest")
		}, core.ErrManifestUnknown, false, []string{headTag, getTag}, 0, nil},
		{"is not served as schema 1", fault(upstreamtest.Fault{Status: 200, Header: schema1, Body: `{"schemaVersion":1,"fsLayers":[]}`}), core.ErrManifestInvalid, false, []string{headTag, getTag}, 0, []string{headTag, getTag}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				f.saw(t, getTag)
				time.Sleep(mirror.DefaultTTL - 1)
				if _, err := f.Resolve(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				f.saw(t)
				time.Sleep(time.Nanosecond)
				f.disconnect(t)
				row.cause(f)
				want := f.image
				if row.moved {
					want = digest.FromBytes(newer)
				}
				for _, saw := range [][]string{row.saw, row.again} {
					began := time.Now()
					m, err := f.Manifest(fetch, repo, latest)
					if !errors.Is(err, row.want) || err == nil && (m.Descriptor.Digest != want || digest.FromBytes(m.Bytes) != want) {
						t.Errorf("got %v, %v, want %s, %v", m.Descriptor, err, want, row.want)
					}
					if took := time.Since(began); took != row.took {
						t.Errorf("it took %s, want %s", took, row.took)
					}
					f.saw(t, saw...)
					row.took = 0 // the second client does not wait for what failed for the first
				}
			})
		})
	}
}

// disconnect drops the idle connection, so that a network that fails is met.
func (f *fixture) disconnect(t *testing.T) {
	t.Helper()
	f.restart(t)
}

func TestATagThatMovesBackIsNotFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		older, newer := document(len(layer)), append(document(len(layer)), '\n')
		for i, image := range [][]byte{older, newer, older} {
			d := f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, image, "latest")
			f.up.Forget()
			if m, err := f.Manifest(fetch, repo, latest); err != nil || m.Descriptor.Digest != d {
				t.Errorf("got %v, %v, want %s", m.Descriptor, err, d)
			}
			switch i {
			case 1:
				f.saw(t, headTag, "registry GET /v2/library/nginx/manifests/"+string(d))
			case 2:
				f.saw(t, headTag)
			}
			time.Sleep(mirror.DefaultTTL)
		}
	})
}

// The time of the last check is kept with the tag, so max_stale holds over restarts.
func TestAStaleTagIsServedUpToMaxStale(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
		want  error
	}{
		{"429", upstreamtest.Fault{Status: 429}, core.ErrTooManyRequests},
		{"502", upstreamtest.Fault{Status: 502}, core.ErrUpstream},
		{"silence", upstreamtest.Fault{Hang: true}, core.ErrUpstreamTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				f.up.Fault(row.fault)
				time.Sleep(mirror.DefaultMaxStale / 2)
				f.restart(t)
				time.Sleep(mirror.DefaultMaxStale/2 - 10*time.Second)
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Errorf("before max_stale: %v", err)
				}
				// A caller who may not fetch is answered from held content, by the same
				// rule.
				if _, err := f.Manifest(context.Background(), repo, latest); err != nil {
					t.Errorf("before max_stale, without fetch: %v", err)
				}
				time.Sleep(10 * time.Second)
				if _, err := f.Manifest(fetch, repo, latest); !errors.Is(err, row.want) || core.Retry(err).IsZero() {
					t.Errorf("after max_stale: got %v, retry %v, want %v", err, core.Retry(err), row.want)
				}
				if _, err := f.Manifest(context.Background(), repo, latest); !errors.Is(err, core.ErrUnauthorized) {
					t.Errorf("after max_stale, without fetch: got %v, want %v", err, core.ErrUnauthorized)
				}
			})
		})
	}
}

func TestWhatWasDeniedIsNotServedWhenTheUpstreamIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
		x := f.up.Fault(upstreamtest.Fault{Status: 403})
		if _, err := f.Manifest(fetch, repo, latest); !errors.Is(err, core.ErrDenied) {
			t.Errorf("got %v, want %v", err, core.ErrDenied)
		}
		x.Lift()
		f.up.Fault(upstreamtest.Fault{Status: 500})
		f.restart(t)
		if _, err := f.Manifest(fetch, repo, latest); !errors.Is(err, core.ErrUpstream) {
			t.Errorf("got %v, want %v", err, core.ErrUpstream)
		}
	})
}

func TestAllWhoWaitShareOneHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
		f.up.Forget()
		f.up.Fault(upstreamtest.Fault{Hang: true})
		began := time.Now()
		// The one who asked first gives up; the others are answered all the same.
		impatient, cancel := context.WithTimeout(fetch, time.Second)
		defer cancel()
		var clients sync.WaitGroup
		clients.Go(func() {
			if _, err := f.Manifest(impatient, repo, latest); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			clients.Go(func() {
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Error(err)
				}
			})
		}
		clients.Wait()
		if took := time.Since(began); took != upstream.DefaultHeadTimeout {
			t.Errorf("they waited %s, want %s", took, upstream.DefaultHeadTimeout)
		}
		f.saw(t, headTag)
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
		f.up.Forget()
		f.up.Fault(upstreamtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"600"}}, Times: 1})
		began := time.Now()
		for _, at := range []struct {
			wait time.Duration
			saw  []string
		}{{0, []string{headTag}}, {599 * time.Second, nil}, {time.Second, []string{headTag}}} {
			time.Sleep(at.wait)
			if _, err := f.Manifest(fetch, repo, latest); err != nil {
				t.Error(err)
			}
			if time.Since(began) == 599*time.Second {
				_, err := f.Manifest(fetch, repo, core.Reference{Tag: "cold"})
				if !errors.Is(err, core.ErrTooManyRequests) || !core.Retry(err).Equal(began.Add(600*time.Second)) {
					t.Errorf("a cold tag meanwhile: %v, retry %v", err, core.Retry(err))
				}
			}
			f.saw(t, at.saw...)
		}
	})
}

func TestNotFoundIsRememberedForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		get := "registry GET /v2/library/nginx/manifests/none"
		for _, at := range []struct {
			wait time.Duration
			saw  []string
		}{{0, []string{get}}, {mirror.DefaultNotFoundTTL - 1, nil}, {1, []string{get}}} {
			time.Sleep(at.wait)
			if _, err := f.Manifest(fetch, repo, core.Reference{Tag: "none"}); !errors.Is(err, core.ErrManifestUnknown) {
				t.Errorf("got %v, want %v", err, core.ErrManifestUnknown)
			}
			f.saw(t, at.saw...)
		}
	})
}

func TestACold(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
		want  error
		twice bool
	}{
		{"tag that is limited", upstreamtest.Fault{Status: 429}, core.ErrTooManyRequests, false},
		{"tag of a broken upstream", upstreamtest.Fault{Status: 500}, core.ErrUpstream, false},
		{"tag of a silent upstream", upstreamtest.Fault{Hang: true}, core.ErrUpstreamTimeout, false},
		{"tag that is denied", upstreamtest.Fault{Status: 403}, core.ErrDenied, false},
		{"tag that is missing", upstreamtest.Fault{Status: 404}, core.ErrManifestUnknown, false},
		{"tag whose bytes are not its digest's", upstreamtest.Fault{Corrupt: true}, core.ErrUpstream, true},
		{"tag that is cut off", upstreamtest.Fault{CutOff: true, After: 20}, core.ErrUpstream, true},
		{"tag of schema 1", upstreamtest.Fault{Status: 200, Body: `{"schemaVersion":1,"name":"x"}`,
			Header: http.Header{"Content-Type": {"application/vnd.docker.distribution.manifest.v1+json"}}}, core.ErrManifestInvalid, false},
		{"tag without a digest or a length", upstreamtest.Fault{NoDigest: true, NoLength: true}, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.Fault(row.fault)
				m, err := f.Manifest(fetch, repo, latest)
				if !errors.Is(err, row.want) || err == nil && m.Descriptor.Digest != f.image {
					t.Errorf("got %v, %v, want %v", m.Descriptor, err, row.want)
				}
				if row.want == core.ErrManifestInvalid && !strings.Contains(err.Error(), "schema 1") {
					t.Errorf("got %v, want a sentence about schema 1", err)
				}
				// The full Accept, whatever the client said.
				for _, r := range f.up.Recorded() {
					if accept := r.Header.Get("Accept"); !strings.Contains(accept, core.MediaTypeDockerManifestList) || !strings.Contains(accept, ocispec.MediaTypeImageManifest) {
						t.Errorf("asked with Accept %q", accept)
					}
				}
				saw := []string{getTag}
				if row.twice {
					saw = append(saw, getTag) // one fresh try
				}
				f.saw(t, saw...)
			})
		})
	}
}

// Of two URLs the second is asked when the first fails, and the first is left alone
// for a while.
func TestSeveralURLsAreTriedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		second := upstreamtest.New(t, upstreamtest.Config{Network: f.network, Name: "second.test"})
		second.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "latest")
		f.config.URLs = append(f.config.URLs, second.URL)
		f.restart(t)
		f.up.Fault(upstreamtest.Fault{Status: 503})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.saw(t, getTag)
		time.Sleep(mirror.DefaultTTL)
		second.Forget()
		f.up.Forget()
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.saw(t, headTag)
		if got := second.Requests(); len(got) != 1 || got[0] != headTag {
			t.Errorf("the second saw %q", got)
		}
	})
}

// Nothing but what is asked for is fetched: of an index, no platform.
func TestAnIndexBringsNoPlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		child := f.image
		f.up.Manifest("library/nginx", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+
			`","manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest+`","digest":"`+string(child)+`","size":3}]}`), "multi")
		if _, err := f.Manifest(fetch, repo, core.Reference{Tag: "multi"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.saw(t, "registry GET /v2/library/nginx/manifests/multi")
	})
}

func TestAPurgedTagIsAskedForOnTheNextRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		if err := f.DeleteTag(fetch, repo, "latest"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.saw(t, getTag)
	})
}

func TestAPushIsRefusedWithAPlaceToPushTo(t *testing.T) {
	f := start(t, mirror.Settings{PushTo: "team/**"})
	_, put := f.PutManifest(fetch, repo, core.ManifestPut{})
	if err := core.AdmitManifest(fetch, f.Mirror, repo); !errors.Is(err, core.ErrDenied) {
		t.Errorf("before the body of a manifest: got %v", err)
	}
	_, mount := f.Mount(fetch, repo, other, f.blob)
	_, begin := f.NewUpload(fetch, repo, digest.Canonical)
	_, goOn := f.Upload(fetch, repo, "x")
	for _, err := range []error{put, mount, begin, goOn} {
		if !errors.Is(err, core.ErrDenied) || !strings.Contains(err.Error(), "push to team/**") {
			t.Errorf("got %v", err)
		}
	}
	f.saw(t)
}
