package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The conformance suite leaves sparse content out. Here an index may name manifests
// that are elsewhere, as a copy of one platform does; an image must be whole.
func TestSparseIndexIsKeptAndSparseImageRefused(t *testing.T) {
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	defer c.Close()
	here, elsewhere := client.NewImage(20, 1, 1<<10), client.NewImage(21, 1, 1<<10)
	if err := c.PushImage(t.Context(), "team/app", "amd64", here); err != nil {
		t.Fatal(err)
	}

	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{
			{MediaType: ocispec.MediaTypeImageManifest, Digest: here.Digest(), Size: int64(len(here.Manifest))},
			{MediaType: ocispec.MediaTypeImageManifest, Digest: elsewhere.Digest(), Size: int64(len(elsewhere.Manifest))},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutManifest(t.Context(), "team/app", "v1", ocispec.MediaTypeImageIndex, index); err != nil {
		t.Fatalf("sparse index: %v", err)
	}
	got, mediaType, err := c.Manifest(t.Context(), "team/app", "v1")
	if err != nil || !bytes.Equal(got, index) || mediaType != ocispec.MediaTypeImageIndex {
		t.Errorf("sparse index came back as %s %q, error %v", mediaType, got, err)
	}

	err = c.PutManifest(t.Context(), "team/app", "arm64", ocispec.MediaTypeImageManifest, elsewhere.Manifest)
	var status *client.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusBadRequest {
		t.Fatalf("image without its blobs: %v, want status 400", err)
	}
	for _, blob := range elsewhere.Blobs {
		if d := digest.FromBytes(blob).String(); !strings.Contains(status.Body, d) {
			t.Errorf("the refusal does not name %s: %s", d, status.Body)
		}
	}
}
