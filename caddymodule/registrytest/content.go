package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// ReadFile returns what a file holds.
func ReadFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// RandomBytes returns n bytes that no compression shortens.
func RandomBytes(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// PutImage puts an image of one layer into an upstream, and returns the digests of its
// manifest and its layer.
func PutImage(
	t *testing.T, u *upstreamtest.Upstream, repo, tag string, layer []byte,
) (manifest, blob digest.Digest) {
	t.Helper()
	blob = u.Blob(repo, layer)
	data := imageManifest(t, u.Blob(repo, []byte(emptyConfig)), blob, len(layer))
	return u.Manifest(repo, ocispec.MediaTypeImageManifest, data, tag), blob
}

// emptyConfig is the configuration of every image.
const emptyConfig = `{}`

// imageManifest returns the manifest of an image of one layer.
func imageManifest(t testing.TB, config, layer digest.Digest, size int) []byte {
	t.Helper()
	data, err := json.Marshal(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeEmptyJSON, Digest: config, Size: int64(len(emptyConfig)),
		},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: int64(size)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}
