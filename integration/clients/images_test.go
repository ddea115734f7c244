package clients

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/server"
)

// layers are the size of one layer of a test image, in bytes, and their number.
const (
	layerSize = 64 << 10
	layers    = 3
)

// image is an image of noise, in the OCI media types or in Docker's schema 2.
func image(t *testing.T, oci bool) v1.Image {
	t.Helper()
	if !oci {
		image, err := random.Image(layerSize, layers)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for range layers {
		layer, err := random.Layer(layerSize, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// index is two platforms' images, in the OCI media types or as a Docker manifest list.
func index(t *testing.T, oci bool) v1.ImageIndex {
	t.Helper()
	kind := types.DockerManifestList
	if oci {
		kind = types.OCIImageIndex
	}
	index := mutate.IndexMediaType(empty.Index, kind)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image(t, oci),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i := range manifest.Manifests {
		manifest.Manifests[i].ArtifactType = ""
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return plainIndex{index, raw}
}

// plainIndex is an index whose descriptors have no artifactType, which mutate writes
// into them: a skopeo that does not know the field drops it, and then sees that the
// digest would change.
type plainIndex struct {
	parent
	raw []byte
}

// parent has another name than its type, which has a method of that name.
type parent = v1.ImageIndex

func (i plainIndex) RawManifest() ([]byte, error) { return i.raw, nil }
func (i plainIndex) Size() (int64, error)         { return int64(len(i.raw)), nil }
func (i plainIndex) Digest() (v1.Hash, error) {
	return v1.NewHash(digest.FromBytes(i.raw).String())
}

// content is one of the forms of an image.
func content(t *testing.T, oci, multi bool) digested {
	t.Helper()
	if multi {
		return index(t, oci)
	}
	return image(t, oci)
}

// digested is implemented by images and indexes.
type digested interface{ Digest() (v1.Hash, error) }

func digestOf(t *testing.T, of digested) digest.Digest {
	t.Helper()
	hash, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(hash.String())
}

// writeLayout writes an OCI layout whose only entry is the image or index, under the
// name v1, and returns its directory.
func writeLayout(t *testing.T, of digested) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})
	switch of := of.(type) {
	case v1.Image:
		err = path.AppendImage(of, named)
	case v1.ImageIndex:
		err = path.AppendIndex(of, named)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeDirectory writes skopeo's form: the manifest as manifest.json, and blobs and
// the manifests of platforms beside it, named by their digests.
func writeDirectory(t *testing.T, of digested) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("version", []byte("Directory Transport Version: 1.1\n"))
	blobs := filepath.Join(writeLayout(t, of), "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(blobs, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		write(entry.Name(), content)
		write(entry.Name()+".manifest.json", content)
		if entry.Name() == digestOf(t, of).Encoded() {
			write("manifest.json", content)
		}
	}
	return dir
}

// busybox is an image that runs: one static program, built of Debian's.
func busybox(t *testing.T) v1.Image {
	t.Helper()
	program, err := os.ReadFile(server.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, image)},
		Config: v1.Config{Entrypoint: []string{"/bin/busybox"}, Cmd: []string{"echo", "hello"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func diffIDs(t *testing.T, image v1.Image) []v1.Hash {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS.DiffIDs
}
