package wire

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// A short manifest gets its Content-Length from net/http, a longer one from this package.
func TestManifestHasALength(t *testing.T) {
	m := filled(t)
	server := httptest.NewUnstartedServer(handler(m, Options{}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	one := server.Client().Transport.(*http.Transport).Clone()
	one.ForceAttemptHTTP2, one.Protocols = false, new(http.Protocols)
	one.Protocols.SetHTTP1(true)
	one.TLSClientConfig.NextProtos = nil
	defer one.CloseIdleConnections()
	for name, client := range map[string]*http.Client{"HTTP/1.1": {Transport: one}, "HTTP/2.0": server.Client()} {
		for _, size := range []int{len(indexJSON), shortBody, shortBody + 1, 100_000} {
			body := indexJSON + strings.Repeat(" ", size-len(indexJSON))
			put := core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: []byte(body), Tags: []string{"sized"}}
			if _, err := m.PutManifest(t.Context(), "a/b", put); err != nil {
				t.Fatal(err)
			}
			response, err := client.Get(server.URL + "/v2/a/b/manifests/sized")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || string(got) != body || response.ContentLength != int64(size) || response.Proto != name {
				t.Errorf("%s, %d bytes: got %d bytes with length %d by %s, %v",
					name, size, len(got), response.ContentLength, response.Proto, err)
			}
		}
	}
}
