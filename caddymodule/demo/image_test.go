package demo

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Every digest that the index reaches is in the image, under the size and type that is said.
func TestImageIsWhole(t *testing.T) {
	img, err := newImage()
	if err != nil {
		t.Fatal(err)
	}
	have := map[digest.Digest]content{}
	for _, c := range append(append([]content{img.index}, img.manifests...), img.blobs...) {
		if c.Digest != digest.FromBytes(c.bytes) || c.Size != int64(len(c.bytes)) {
			t.Errorf("%s: digest or size is not that of its bytes", c.Digest)
		}
		have[c.Digest] = c
	}
	find := func(d v1.Descriptor, into any) {
		t.Helper()
		c, ok := have[d.Digest]
		if !ok || c.MediaType != d.MediaType || c.Size != d.Size {
			t.Fatalf("%s of %s: got %+v, want it in the image", d.MediaType, d.Digest, c.Descriptor)
		}
		if into != nil {
			if err := json.Unmarshal(c.bytes, into); err != nil {
				t.Fatal(err)
			}
		}
	}
	var index v1.Index
	find(img.index.Descriptor, &index)
	var platforms []string
	for _, listed := range index.Manifests {
		platforms = append(platforms, listed.Platform.OS+"/"+listed.Platform.Architecture)
		var manifest v1.Manifest
		find(listed, &manifest)
		var config v1.Image
		find(manifest.Config, &config)
		if config.Platform.Architecture != listed.Platform.Architecture {
			t.Errorf("config of %s has the architecture %s", listed.Platform.Architecture, config.Platform.Architecture)
		}
		for i, layer := range manifest.Layers {
			find(layer, nil)
			if config.RootFS.DiffIDs[i] != layer.Digest {
				t.Errorf("diff ID: got %s, want %s", config.RootFS.DiffIDs[i], layer.Digest)
			}
		}
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !reflect.DeepEqual(platforms, want) {
		t.Errorf("platforms: got %q, want %q", platforms, want)
	}
	archive := tar.NewReader(bytes.NewReader(img.blobs[0].bytes))
	header, err := archive.Next()
	if err != nil || header.Name != "hello.txt" {
		t.Fatalf("layer: got %+v, %v; want hello.txt", header, err)
	}
	if got, err := io.ReadAll(archive); err != nil || string(got) != text {
		t.Errorf("hello.txt: got %q, %v", got, err)
	}
	again, err := newImage()
	if err != nil || !reflect.DeepEqual(again, img) {
		t.Error("the image is another one when it is made again")
	}
}
