package client

import (
	"context"
	"encoding/json"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is a small image in memory. Its layers are noise and not archives: a
// registry does not look, and noise does not compress or repeat.
type Image struct {
	Manifest []byte
	// Blobs are the config and then the layers.
	Blobs [][]byte
}

// NewImage makes an image of layers that are size bytes each, all decided by seed.
func NewImage(seed uint64, layers, size int) Image {
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32)})
	config, _ := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "seed": seed}) // of plain values
	image := Image{Blobs: [][]byte{config}}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(ocispec.MediaTypeImageConfig, config),
	}
	for range layers {
		layer := make([]byte, size)
		noise.Read(layer) // never fails
		image.Blobs = append(image.Blobs, layer)
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayer, layer))
	}
	image.Manifest, _ = json.Marshal(manifest)
	return image
}

// Digest is the digest of the manifest.
func (i Image) Digest() digest.Digest { return digest.FromBytes(i.Manifest) }

// PushImage pushes an image's blobs and then its manifest by tag.
func (c *Client) PushImage(ctx context.Context, repo, tag string, image Image) error {
	for _, blob := range image.Blobs {
		if _, err := c.PushBlob(ctx, repo, blob); err != nil {
			return err
		}
	}
	return c.PutManifest(ctx, repo, tag, ocispec.MediaTypeImageManifest, image.Manifest)
}

// PullImage reads the manifest of a digest or tag, with its config and layers, and verifies
// every digest.
func (c *Client) PullImage(ctx context.Context, repo, ref string) (digest.Digest, error) {
	content, _, err := c.Manifest(ctx, repo, ref)
	if err != nil {
		return "", err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		return "", err
	}
	for _, descriptor := range append(manifest.Layers, manifest.Config) {
		if _, err := c.Blob(ctx, repo, descriptor.Digest); err != nil {
			return "", err
		}
	}
	return digest.FromBytes(content), nil
}

func describe(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}
