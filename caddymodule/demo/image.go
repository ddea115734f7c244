package demo

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageTag is the tag of the image.
const imageTag = "v1"

// text is the only file of the image, hello.txt.
const text = "This image was made by caddy-registry registry demo. You pulled it from your own registry.\n"

// architectures are those of the image's index. It has no program, so each has the same layer.
var architectures = []string{"amd64", "arm64"}

// content is a blob or a manifest.
type content struct {
	v1.Descriptor
	bytes []byte
}

func contentOf(mediaType string, data []byte) content {
	return content{v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

// image is an index with everything that it names, each list in an order in which it can
// be pushed.
type image struct {
	blobs, manifests []content
	index            content
}

// newImage makes the image. It is the same at each call, to the byte: its layer is not
// compressed, because the output of a compressor may differ between versions of Go.
func newImage() (image, error) {
	layerBytes, err := layer()
	if err != nil {
		return image{}, err
	}
	made := contentOf(v1.MediaTypeImageLayer, layerBytes)
	result := image{blobs: []content{made}}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, architecture := range architectures {
		platform := v1.Platform{Architecture: architecture, OS: "linux"}
		created := epoch
		config, err := encode(v1.MediaTypeImageConfig, v1.Image{
			Created: &created, Platform: platform,
			RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{made.Digest}},
		})
		if err != nil {
			return image{}, err
		}
		manifest, err := encode(v1.MediaTypeImageManifest, v1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
			Config: config.Descriptor, Layers: []v1.Descriptor{made.Descriptor},
		})
		if err != nil {
			return image{}, err
		}
		listed := manifest.Descriptor
		listed.Platform = &platform
		index.Manifests = append(index.Manifests, listed)
		result.blobs, result.manifests = append(result.blobs, config), append(result.manifests, manifest)
	}
	result.index, err = encode(v1.MediaTypeImageIndex, index)
	return result, err
}

// epoch is when the image and its file were made, as far as they say.
var epoch = time.Unix(0, 0).UTC()

func encode(mediaType string, document any) (content, error) {
	data, err := json.Marshal(document)
	return contentOf(mediaType, data), err
}

// layer is a tar archive with the text.
func layer() ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	header := &tar.Header{Name: "hello.txt", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text)), ModTime: epoch, Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := archive.Write([]byte(text)); err != nil {
		return nil, err
	}
	err := archive.Close()
	return out.Bytes(), err
}
