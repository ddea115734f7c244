package mirror_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
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

// manyTags is an answer with n tags.
func manyTags(n int) (body string, last string) {
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprintf("v%06d", i))
	}
	return `{"name":"library/nginx","tags":["` + strings.Join(tags, `","`) + `"]}`, tags[n-1]
}

// page returns what a client gets that asks for n tags after one.
func page(f *fixture, after string, n int) (got []string, err error) {
	for tag, err := range f.Tags(fetch, repo, after) {
		if err != nil {
			return got, err
		}
		if got = append(got, tag); len(got) == n {
			break
		}
	}
	return got, nil
}

// When clients page through a long list at the same time, it is read and decoded once, also after
// a restart.
func TestPagesOfAListReadItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		body, last := manyTags(10_000)
		f.up.Fault(upstreamtest.Fault{Path: "/tags/", Status: 200, Body: body})
		for _, when := range []string{"from the upstream", "from the disk"} {
			f.full.gets = nil
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() {
					after := ""
					for i := range 50 {
						got, err := page(f, after, 1)
						if want := fmt.Sprintf("v%06d", i); err != nil || len(got) != 1 || got[0] != want {
							t.Errorf("%s: got %q, %v, want %s", when, got, err, want)
							return
						}
						after = got[0]
					}
				})
			}
			clients.Wait()
			if got, err := page(f, last, 1); err != nil || len(got) != 0 {
				t.Errorf("%s: behind the last tag: %q, %v", when, got, err)
			}
			read := slices.DeleteFunc(f.full.gets, func(key string) bool { return !strings.HasPrefix(key, "mirror/lists/") })
			if len(read) > 1 {
				t.Errorf("%s: 1001 pages read it %d times", when, len(read))
			}
			f.restart(t)
		}
		if got := f.up.Requests(); len(got) != 1 {
			t.Errorf("the upstream saw %q", got)
		}
	})
}

func BenchmarkTagsPage(b *testing.B) {
	up := upstreamtest.New(b, upstreamtest.Config{})
	body, _ := manyTags(100_000)
	up.Fault(upstreamtest.Fault{Path: "/tags/", Status: 200, Body: body})
	m, stop := nodeIn(b, place{directory: b.TempDir()}, up, nil, "", nil)
	defer stop()
	f := &fixture{Mirror: m}
	for b.Loop() {
		if got, err := page(f, "v050000", 1); err != nil || len(got) != 1 || got[0] != "v050001" {
			b.Fatal(got, err)
		}
	}
}

// While the upstream cannot be asked, a repository whose list is not held has the tags
// that are: those that could be pulled now.
func TestTagsThatAreHeldAreListedWhileTheUpstreamIsAway(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
		after string
		want  []string
		err   error
	}{
		{"refuses connections", upstreamtest.Fault{Path: "nothing"}, "", []string{"1.0", "latest"}, nil},
		{"is broken", upstreamtest.Fault{Status: 500}, "", []string{"1.0", "latest"}, nil},
		{"is limited", upstreamtest.Fault{Status: 429}, "", []string{"1.0", "latest"}, nil},
		{"is silent", upstreamtest.Fault{Hang: true}, "", []string{"1.0", "latest"}, nil},
		{"is broken, second page", upstreamtest.Fault{Status: 500}, "1.0", []string{"latest"}, nil},
		{"is broken, behind the last", upstreamtest.Fault{Status: 500}, "z", nil, nil},
		{"says that it is not there", upstreamtest.Fault{Status: 404}, "", nil, core.ErrNameUnknown},
		{"denies it", upstreamtest.Fault{Status: 403}, "", nil, core.ErrDenied},
	} {
		t.Run("upstream "+row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "1.0", "unpulled")
				f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(1), "denied")
				for _, tag := range []string{"latest", "1.0", "denied"} {
					if _, err := f.Manifest(fetch, repo, core.Reference{Tag: tag}); err != nil {
						t.Fatal(err)
					}
				}
				// Content that the upstream has since denied is not shown.
				time.Sleep(mirror.DefaultTTL)
				denied := f.up.Fault(upstreamtest.Fault{Path: "/manifests/denied", Status: 403})
				if _, err := f.Manifest(fetch, repo, core.Reference{Tag: "denied"}); !errors.Is(err, core.ErrDenied) {
					t.Fatal(err)
				}
				denied.Lift()
				f.up.Fault(row.fault)
				f.network.Refuse(f.up.Registry, row.fault.Path == "nothing")
				f.restart(t)
				ctx, notes := core.WithNotes(fetch)
				got, err := list(f.Tags(ctx, repo, row.after))
				if said := notes.Warnings(); (len(said) == 1) != (row.err == nil) {
					t.Errorf("it warns of %q", said)
				}
				if !errors.Is(err, row.err) || !slices.Equal(got, row.want) {
					t.Errorf("got %q, %v, want %q, %v", got, err, row.want, row.err)
				}
				if said := strings.Contains(f.log.String(), "incomplete list"); said != (row.err == nil) {
					t.Errorf("the log says that it is incomplete: %t", said)
				}
				if _, err := list(f.Tags(fetch, other, "")); err == nil {
					t.Error("a repository of which nothing is held has a list")
				}
				// Tags that are too old to be pulled are not listed.
				time.Sleep(mirror.DefaultMaxStale)
				if got, err := list(f.Tags(fetch, repo, "")); err == nil {
					t.Errorf("after max_stale: %q", got)
				}
			})
		})
	}
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
				// Of what is not held the tag is not asked for.
				if _, err := f.Manifest(fetch, repo, core.Reference{Digest: f.image}); err != nil {
					t.Fatal(err)
				}
				f.up.Forget()
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
