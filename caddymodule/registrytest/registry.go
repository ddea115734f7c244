package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is a registry on a port of loopback, which a test asks over HTTP. Whatever its
// methods cannot do ends the test.
type Registry struct {
	*testing.T
	// Base is its URL, without a slash at the end.
	Base string
}

// Serve runs the registry of a Caddyfile in this process, instead of what ran before. See
// Caddyfile for the arguments.
func Serve(t *testing.T, port int, storage, oci, options string) *Registry {
	t.Helper()
	Load(t, Caddyfile(port, storage, oci, options))
	return At(t, port)
}

// At returns the registry on a port, which runs already.
func At(t *testing.T, port int) *Registry {
	return &Registry{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// Transport makes a connection for each request. After a reload Caddy closes the idle
// connections of the server before in the background, and a push that met the end of
// one could not be told from a push that was refused.
var Transport = &http.Transport{DisableKeepAlives: true}

// Do sends a request and returns the answer with its body. The fields are names and values of
// its header in turn. A path that is a URL is asked as it is.
func (r *Registry) Do(method, path string, body io.Reader, fields ...string) (*http.Response, []byte) {
	r.Helper()
	if !strings.HasPrefix(path, "http") {
		path = r.Base + path
	}
	request, err := http.NewRequest(method, path, body)
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
		if fields[i] == "Host" {
			request.Host = fields[i+1]
		}
	}
	response, err := Transport.RoundTrip(request)
	if err != nil {
		r.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatal(err)
	}
	return response, data
}

// Want sends a request as Do does. Its answer must have this status.
func (r *Registry) Want(
	status int, method, path string, body io.Reader, fields ...string,
) (*http.Response, []byte) {
	r.Helper()
	response, data := r.Do(method, path, body, fields...)
	if response.StatusCode != status {
		r.Fatalf("%s %s: got status %d, want %d: %s", method, path, response.StatusCode, status, data)
	}
	return response, data
}

// PushBlob pushes content in one request.
func (r *Registry) PushBlob(repo string, content []byte) digest.Digest {
	r.Helper()
	d := digest.FromBytes(content)
	r.Want(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), bytes.NewReader(content))
	return d
}

// PushImage pushes an image of one layer, and returns the digest of its manifest.
func (r *Registry) PushImage(repo, tag string, layer []byte) digest.Digest {
	r.Helper()
	config := r.PushBlob(repo, []byte(emptyConfig))
	manifest := imageManifest(r, config, r.PushBlob(repo, layer), len(layer))
	r.Want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, bytes.NewReader(manifest),
		"Content-Type", ocispec.MediaTypeImageManifest)
	return digest.FromBytes(manifest)
}

// Eventually waits as the function Eventually does.
func (r *Registry) Eventually(what string, holds func() bool) {
	r.Helper()
	Eventually(r.T, what, holds)
}

// Metric returns one value of /metrics, or 0.
func (r *Registry) Metric(name string) (value float64) {
	r.Helper()
	_, page := r.Want(http.StatusOK, "GET", "/metrics", nil)
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				r.Fatal(err)
			}
		}
	}
	return value
}
