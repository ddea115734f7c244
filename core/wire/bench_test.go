package wire

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// discardWriter is a connection without a cost of its own, so that only our code is
// measured.
type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(int)             {}

// manifestGet parses and serves one GET of a manifest again and again.
func manifestGet(tb testing.TB, ref string) func() {
	m := filled(tb)
	r := httptest.NewRequest(http.MethodGet, "/v2/a/b/manifests/"+ref, nil)
	r.URL = &url.URL{Path: r.URL.Path}
	w := &discardWriter{http.Header{}}
	return func() {
		clear(w.header)
		req, err := Parse(r.Method, r.URL)
		if err != nil {
			tb.Fatal(err)
		}
		Serve(w, r, req, m, Options{})
	}
}

// The bound covers the answer (the exchange, the entity tag, the length, and the
// registry of the test), with room for a new compiler. More is a regression on the
// hottest path.
func TestManifestAllocations(t *testing.T) {
	const most = 5
	for name, ref := range map[string]string{"by tag": "v1", "by digest": string(indexDigest)} {
		if got := testing.AllocsPerRun(1000, manifestGet(t, ref)); got > most {
			t.Errorf("%s: %v allocations, at most %d", name, got, most)
		}
	}
}

func BenchmarkManifest(b *testing.B) {
	for name, ref := range map[string]string{"tag": "v1", "digest": string(indexDigest)} {
		b.Run(name, func(b *testing.B) {
			get := manifestGet(b, ref)
			b.ReportAllocs()
			for b.Loop() {
				get()
			}
		})
	}
}
