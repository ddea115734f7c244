package upstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// endless serves the pages of a list, each with a link to the next.
type endless struct {
	kind  string // Content-Type
	page  func(i int) []byte
	pages int // 0: without an end

	mu    sync.Mutex // guards the two
	sent  int64
	asked int
}

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.asked
	e.asked++
	if e.pages == 0 || e.asked < e.pages {
		w.Header().Set("Link", fmt.Sprintf(`<?page=%d>; rel=next`, e.asked))
	}
	w.Header().Set("Content-Type", e.kind)
	n, _ := w.Write(e.page(i))
	e.sent += int64(n)
}

func entry(name, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1%s}`, ocispec.MediaTypeImageManifest, digest.FromString(name), more)
}

func indexOf(entries string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[` + entries + `]}`)
}

// A list is bounded in bytes, in pages and in entries, however it is served.
func TestListIsBounded(t *testing.T) {
	same := func(page []byte) func(int) []byte { return func(int) []byte { return page } }
	large := strings.Repeat("x", 7<<20)
	for _, tt := range []struct {
		name  string
		tags  bool
		pages int
		page  func(i int) []byte
		err   error
		sent  int64 // at most
	}{
		{"tags in large pages", true, 0, same([]byte(`{"x":"` + large + `","tags":["a"]}`)), upstream.ErrTooLarge, 32 << 20},
		{"tags in one page that is too large", true, 1, same([]byte(`{"tags":["a"],"x":"` + large + large + `"}`)), upstream.ErrTooLarge, 16 << 20},
		{"tags in small pages", true, 0, same([]byte(`{"tags":["a"]}`)), upstream.ErrTooLarge, 1 << 20},
		{"tags in empty pages", true, 0, same([]byte(`{"tags":[]}`)), upstream.ErrTooLarge, 1 << 20},
		{"many short tags", true, 0, same([]byte(`{"tags":[` + strings.Repeat(`"a",`, 300_000) + `"a"]}`)), upstream.ErrTooLarge, 4 << 20},
		{"many that are not tags", true, 0, same([]byte(`{"tags":[` + strings.Repeat(`"",`, 2_000_000) + `"a"]}`)), upstream.ErrTooLarge, 24 << 20},
		{"as many tags as the largest repositories have", true, 200, func(i int) []byte {
			var b bytes.Buffer
			for j := range 1000 {
				fmt.Fprintf(&b, `"v1.%d.%d-20260101",`, i, j)
			}
			return []byte(`{"tags":[` + b.String() + `"end"]}`)
		}, nil, 16 << 20},

		{"referrers in large pages", false, 0, same(indexOf(entry("a", `,"x":"`+large+`"`))), upstream.ErrTooLarge, 32 << 20},
		{"referrers with large annotations", false, 0, same(indexOf(entry("a", `,"annotations":{"x":"`+large+`"}`))), upstream.ErrTooLarge, 32 << 20},
		{"referrers in small pages", false, 0, same(indexOf("")), upstream.ErrTooLarge, 1 << 20},
		{"many referrers in one page", false, 1, same(indexOf(strings.Repeat(entry("a", "")+",", core.MaxDescriptors) + entry("a", ""))), upstream.ErrCorrupt, 8 << 20},
		{"many referrers in several", false, 0, same(indexOf(strings.Repeat(entry("a", "")+",", core.MaxDescriptors/2) + entry("a", ""))), upstream.ErrTooLarge, 4 << 20},
		{"many empty referrers", false, 1, same(indexOf(strings.Repeat("{},", 2_000_000) + "{}")), upstream.ErrCorrupt, 16 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				e := &endless{kind: index, page: tt.page, pages: tt.pages}
				serve(t, n, "registry.test:80", e)
				var err error
				if tt.tags {
					_, err = f.client.Tags(t.Context(), repo)
				} else {
					_, err = f.client.Referrers(t.Context(), repo, digest.FromString("x"))
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				e.mu.Lock()
				defer e.mu.Unlock()
				if e.sent > tt.sent || e.asked > 1000 {
					t.Errorf("it sent %d bytes in %d pages, want at most %d in 1000", e.sent, e.asked, tt.sent)
				}
			})
		})
	}
}

func TestAnnotationsOfReferrersAreCut(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%d":"",`, i)
		}
		return `,"annotations":{` + b.String() + `"x":"y"}`
	}
	for _, tt := range []struct {
		name  string
		entry string
		pages int
		most  int // annotations in all
		kept  bool
	}{
		{"few are kept", entry("a", many(3)), 1, 4, true},
		{"large ones are left out", entry("a", `,"annotations":{"x":"`+strings.Repeat("y", 65<<10)+`"}`), 1, 0, false},
		{"many in each of many pages are not all kept", entry("a", many(6000)), 20, 50_000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				serve(t, n, "registry.test:80", &endless{kind: index, pages: tt.pages, page: func(int) []byte { return indexOf(tt.entry) }})
				got, err := f.client.Referrers(t.Context(), repo, digest.FromString("x"))
				if err != nil || len(got) != tt.pages {
					t.Fatalf("got %d entries, %v, want %d", len(got), err, tt.pages)
				}
				sum := 0
				for _, desc := range got {
					sum += len(desc.Annotations)
				}
				if sum > tt.most || sum > 0 != tt.kept {
					t.Errorf("got %d annotations, want at most %d", sum, tt.most)
				}
			})
		})
	}
}

// Upstreams say in many ways that they have no referrers API.
func TestReferrersWithoutTheAPI(t *testing.T) {
	subject := digest.FromBytes(document)
	page := http.Header{"Content-Type": {"text/html"}}
	for _, tt := range []struct {
		name  string
		fault upstreamtest.Fault
		want  int
		err   error
	}{
		{"400", upstreamtest.Fault{Status: 400}, 1, nil},
		{"404", upstreamtest.Fault{Status: 404}, 1, nil},
		{"405", upstreamtest.Fault{Status: 405}, 1, nil},
		{"406", upstreamtest.Fault{Status: 406}, 1, nil},
		{"410", upstreamtest.Fault{Status: 410}, 1, nil},
		{"501", upstreamtest.Fault{Status: 501}, 1, nil},
		{"a page", upstreamtest.Fault{Status: 200, Header: page, Body: "<html>"}, 1, nil},
		{"JSON of another kind", upstreamtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: "{}"}, 1, nil},
		{"a redirect to a page", upstreamtest.Fault{Status: 303, Header: header("Location", "/login")}, 1, nil},
		{"a redirect to missing content", upstreamtest.Fault{Status: 307, Header: header("Location", "http://gone.test/")}, 1, nil},

		{"401", upstreamtest.Fault{Status: 401}, 0, upstream.ErrDenied},
		{"403", upstreamtest.Fault{Status: 403}, 0, upstream.ErrDenied},
		{"418", upstreamtest.Fault{Status: 418}, 0, upstream.ErrUnavailable},
		{"429", upstreamtest.Fault{Status: 429}, 0, upstream.ErrRateLimited},
		{"500", upstreamtest.Fault{Status: 500}, 0, upstream.ErrUnavailable},
		{"an index that is not one", upstreamtest.Fault{Status: 200, Header: http.Header{"Content-Type": {index}}, Body: `{"config":{},"layers":[]}`}, 0, upstream.ErrCorrupt},
		{"an index that is cut", upstreamtest.Fault{Status: 200, Header: http.Header{"Content-Type": {index}}, Body: `{"manifests":[`}, 0, upstream.ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				serve(t, n, "gone.test:80", status(404, "<html>"))
				tt.fault.Path = "/referrers/"
				f.Fault(tt.fault)
				f.Fault(upstreamtest.Fault{Path: "/login", Status: 200, Header: page, Body: "<html>"})
				f.Manifest(repo, index, indexOf(entry("a", "")), "sha256-"+subject.Encoded())
				got, err := f.client.Referrers(t.Context(), repo, subject)
				if !errors.Is(err, tt.err) || len(got) != tt.want {
					t.Errorf("got %v, %v, want %d, %v", got, err, tt.want, tt.err)
				}
			})
		})
	}
}
