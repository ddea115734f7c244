package caddymodule_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core"
)

// discardWriter is a connection that costs nothing but the header, which net/http makes and
// copies for each answer, so that what is measured is Caddy and the handler.
type discardWriter struct {
	header, sent http.Header
	status       int
}

func (w *discardWriter) Header() http.Header              { return w.header }
func (w *discardWriter) Write(p []byte) (int, error)      { return len(p), nil }
func (w *discardWriter) WriteHeader(status int)           { w.status, w.sent = status, w.header.Clone() }
func (w *discardWriter) SetWriteDeadline(time.Time) error { return nil }

// served returns a function that has Caddy's server answer one GET with status 200, without a
// connection.
func served(tb testing.TB, path string) func() {
	tb.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		tb.Fatal(err)
	}
	server := app.(*caddyhttp.App).Servers["srv0"]
	r := httptest.NewRequest(http.MethodGet, path, nil)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5050}
	r.Host, r.RemoteAddr = "127.0.0.1:5050", "127.0.0.1:40000"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
	w := new(discardWriter)
	return func() {
		w.header = http.Header{}
		server.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			tb.Fatalf("GET %s: got status %d, want %d", path, w.status, http.StatusOK)
		}
	}
}

// BenchmarkGet compares a GET of a manifest with the least that Caddy can do for a request.
func BenchmarkGet(b *testing.B) {
	registrytest.Load(b,
		registrytest.Caddyfile(registrytest.FreePort(b), b.TempDir(), registrytest.AllowAll, "respond /static ok"))
	trees, err := registrytest.Storage(b).Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer registrytest.Storage(b).Release()
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
	d := digest.FromBytes(manifest)
	_, err = trees.Private.PutManifest(b.Context(), "team/app", core.ManifestPut{
		MediaType: ocispec.MediaTypeImageIndex, Bytes: manifest, Digest: d, Tags: []string{"v1"},
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, row := range []struct{ name, path string }{
		{"manifest by tag", "/v2/team/app/manifests/v1"},
		{"manifest by digest", "/v2/team/app/manifests/" + d.String()},
		{"respond", "/static"},
	} {
		get := served(b, row.path)
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				get()
			}
		})
	}
}
