package wire

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// A push must name its media type. An uninformative type is refused and not replaced
// by a guess.
func TestPushedMediaTypes(t *testing.T) {
	for _, row := range []struct {
		name   string
		header []string
		status int
	}{
		{"the type of its shape", []string{ocispec.MediaTypeImageIndex}, 201},
		{"in other letters", []string{"Application/vnd.OCI.image.index.v1+JSON"}, 201},
		{"none", nil, 400},
		{"an empty one", []string{""}, 400},
		{"half a type", []string{"application"}, 400},
		{"two types", []string{ocispec.MediaTypeImageIndex + ", text/html"}, 400},
		{"a page", []string{"text/html"}, 400},
		{"a picture with a script", []string{"image/svg+xml"}, 400},
		{"generic JSON", []string{"application/json"}, 400},
		{"bytes", []string{"application/octet-stream"}, 400},
		{"the type that curl sends", []string{"application/x-www-form-urlencoded"}, 400},
		{"that of an image", []string{ocispec.MediaTypeImageManifest}, 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			code := ""
			if row.status != 201 {
				code = core.ErrManifestInvalid.Code
			}
			(&exchangeRow{
				method: "PUT", url: "/v2/n/manifests/v1", header: http.Header{"Content-Type": row.header}, body: indexJSON,
				status: row.status, code: code,
			}).run(t)
		})
	}
}

// A browser gets nothing that it would run, whatever type a registry gives a manifest.
func TestServedMediaTypes(t *testing.T) {
	for stated, served := range map[string]string{
		ocispec.MediaTypeImageManifest:    ocispec.MediaTypeImageManifest,
		"application/vnd.acme.thing+json": "application/vnd.acme.thing+json",
		"text/html":                       "application/octet-stream",
		"image/svg+xml":                   "application/octet-stream",
		"application/xhtml+xml":           "application/octet-stream",
		"application/x+json, text/html":   "application/octet-stream",
		"":                                "application/octet-stream",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(method+" "+stated, func(t *testing.T) {
				data := []byte(`{"x":"<script>"}`)
				d := digest.FromBytes(data)
				(&exchangeRow{
					method: method, url: "/v2/a/b/manifests/" + string(d),
					prepare: func(m *memory) {
						m.manifests["a/b@"+string(d)] = core.Manifest{
							Descriptor: core.Descriptor{MediaType: stated, Digest: d, Size: int64(len(data))}, Bytes: data,
						}
					},
					status: 200, want: map[string]string{"Content-Type": served},
				}).run(t)
			})
		}
	}
}
