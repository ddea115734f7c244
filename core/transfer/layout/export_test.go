package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

// held is a private store, and its directory.
type held struct {
	*store.Store
	bucket bucket.Bucket
	dir    string
}

func openStore(t *testing.T) held {
	t.Helper()
	path := t.TempDir()
	storage, err := dir.Open(path, dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), storage.Close()); err != nil {
			t.Error(err)
		}
	})
	return held{s, b, path}
}

// put pushes a manifest with tags, and returns its descriptor as JSON has it.
func (h held) put(t *testing.T, mediaType, text string, tags ...string) string {
	t.Helper()
	result, err := h.PutManifest(t.Context(), "team/app", core.ManifestPut{MediaType: mediaType, Bytes: []byte(text), Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, result.Descriptor.Digest, len(text))
}

// blob pushes a blob, and returns its descriptor as JSON has it.
func (h held) blob(t *testing.T, text string) string {
	t.Helper()
	d := digest.FromString(text)
	upload, err := h.NewUpload(t.Context(), "team/app", digest.Canonical)
	if err == nil {
		_, err = upload.Append(t.Context(), -1, strings.NewReader(text))
	}
	if err == nil {
		_, err = upload.Commit(t.Context(), d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, d, len(text))
}

// image pushes an image of two blobs.
func (h held) image(t *testing.T, seed, more string, tags ...string) string {
	t.Helper()
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, ocispec.MediaTypeImageManifest,
		strings.Replace(h.blob(t, "{"+`"seed":"`+seed+`"}`), "layer.v1.tar", "config.v1+json", 1), h.blob(t, "layer of "+seed), more)
	return h.put(t, ocispec.MediaTypeImageManifest, text, tags...)
}

// filled is a store with an index of two platforms, of which it holds one; a signature of that
// platform and of the index; and another image, also as an untagged one.
func filled(t *testing.T) held {
	t.Helper()
	h := openStore(t)
	platform := h.image(t, "platform", "")
	missing := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":7}`, ocispec.MediaTypeImageManifest, digest.FromString("missing"))
	index := h.put(t, ocispec.MediaTypeImageIndex,
		fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, ocispec.MediaTypeImageIndex, platform, missing), "v1", "latest")
	h.image(t, "signature of the index", `,"subject":`+index)
	h.image(t, "signature of the platform", `,"subject":`+platform)
	h.image(t, "other", "", "v2")
	h.image(t, "untagged", "")
	return h
}

func export(t *testing.T, from held, refs ...core.Reference) []byte {
	t.Helper()
	var archive bytes.Buffer
	if err := layout.Export(t.Context(), &archive, from, "team/app", refs...); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// unpack returns the directory of a layout.
func unpack(t *testing.T, archive io.Reader) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	into, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer into.Close()
	return dir, layout.Unpack(archive, into)
}

// imported imports a layout into an empty store, and returns what was found.
func imported(t *testing.T, dir string) (held, transfer.Summary) {
	t.Helper()
	source, err := layout.Open(dir, "team/app")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	to := openStore(t)
	sum, err := transfer.Import(t.Context(), transfer.Config{Source: source, Target: to.Store, Notes: to.bucket, Name: core.ParseName})
	if err != nil {
		t.Fatal(err)
	}
	return to, sum
}

// Images that are exported and imported again are the same, with all that belongs to them.
func TestExportedImagesCanBeImported(t *testing.T) {
	from := filled(t)
	for _, row := range []struct {
		name  string
		refs  []core.Reference
		found int // tags, the platform, and what refers to both
	}{
		{"all tags", nil, 6},
		{"one tag", []core.Reference{{Tag: "v1"}}, 4},
		{"an image that nothing refers to", []core.Reference{{Tag: "v2"}}, 1},
	} {
		archive := export(t, from, row.refs...)
		if again := export(t, from, row.refs...); !bytes.Equal(archive, again) {
			t.Errorf("%s: two exports differ", row.name)
		}
		dir, err := unpack(t, bytes.NewReader(archive))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		to, sum := imported(t, dir)
		if sum.Imported != row.found || sum.LeftOut != 0 {
			t.Errorf("%s: got %+v, want %d imported", row.name, sum, row.found)
		}
		for tag, err := range to.Tags(t.Context(), "team/app", "") {
			if err != nil {
				t.Fatal(err)
			}
			got, gotErr := to.Manifest(t.Context(), "team/app", core.Reference{Tag: tag})
			want, wantErr := from.Manifest(t.Context(), "team/app", core.Reference{Tag: tag})
			if err := errors.Join(gotErr, wantErr); err != nil || !bytes.Equal(got.Bytes, want.Bytes) {
				t.Errorf("%s: %s: got %s and %v, want %s", row.name, tag, got.Bytes, err, want.Bytes)
			}
		}
	}
}

// Nothing is written of what is not there, so that its error can still be told.
func TestWhatCannotBeExported(t *testing.T) {
	from := filled(t)
	for _, row := range []struct {
		repo string
		ref  core.Reference
		want error
	}{
		{"team/app", core.Reference{Tag: "v9"}, core.ErrManifestUnknown},
		{"team/app", core.Reference{Digest: digest.FromString("absent")}, core.ErrManifestUnknown},
		{"team/none", core.Reference{Tag: "v1"}, core.ErrNameUnknown},
	} {
		var archive bytes.Buffer
		if err := layout.Export(t.Context(), &archive, from, row.repo, row.ref); !errors.Is(err, row.want) || archive.Len() > 0 {
			t.Errorf("%s:%s: got %v and %d bytes, want %v", row.repo, row.ref, err, archive.Len(), row.want)
		}
	}
}

func TestDamageIsNotExported(t *testing.T) {
	from := filled(t)
	d := digest.FromString("layer of other")
	found, err := filepath.Glob(filepath.Join(from.dir, "private/objects/blobs/sha256/*", d.Encoded()))
	if err != nil || len(found) != 1 {
		t.Fatalf("the file of the layer: %v, %v", found, err)
	}
	if err := os.WriteFile(found[0], []byte("layer of OTHER"), 0o600); err != nil {
		t.Fatal(err)
	}
	archive := export(t, from, core.Reference{Tag: "v2"})
	if _, err := unpack(t, bytes.NewReader(archive)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a directory: got %v", err)
	}
	if err := layout.Copy(io.Discard, bytes.NewReader(archive)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("an archive: got %v", err)
	}
}

func TestAnArchiveThatWasCutOffIsNotALayout(t *testing.T) {
	archive := export(t, filled(t))
	var copied bytes.Buffer
	if err := layout.Copy(&copied, bytes.NewReader(archive)); err != nil || !bytes.Equal(copied.Bytes(), archive) {
		t.Errorf("the whole one: %v, and the copies differ: %v", err, !bytes.Equal(copied.Bytes(), archive))
	}
	for _, n := range []int{0, 512, len(archive) / 2, len(archive) - 3000} {
		if err := layout.Copy(io.Discard, bytes.NewReader(archive[:n])); err == nil {
			t.Errorf("%d of %d bytes were taken for a layout", n, len(archive))
		}
	}
	if _, err := unpack(t, bytes.NewReader(bytes.Replace(archive, []byte("oci-layout"), []byte("../../evil"), 1))); err == nil {
		t.Error("a file of another name was written")
	}
}

func TestADirectoryThatIsNotEmptyIsLeftAlone(t *testing.T) {
	if _, err := layout.Create(write(t, map[string]string{"kept": ""})); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("got %v", err)
	}
}

// odd answers with another manifest.
type odd struct {
	held
	manifest core.Manifest
}

func (o odd) Manifest(context.Context, string, core.Reference) (core.Manifest, error) {
	return o.manifest, nil
}

// A manifest of earlier times may name more than can be read of it. Without that it would be less
// than the image.
func TestAManifestThatCannotBeReadWholeIsNotExported(t *testing.T) {
	from := filled(t)
	text := `{"schemaVersion":2,"config":` + from.blob(t, "{}") + `,"layers":[{"digest":"sha256:short"}]}`
	manifest := core.Manifest{Descriptor: core.Descriptor{Digest: digest.FromString(text)}, Bytes: []byte(text)}
	err := layout.Export(t.Context(), io.Discard, odd{from, manifest}, "team/app", core.Reference{Tag: "v2"})
	if err == nil || !strings.Contains(err.Error(), string(manifest.Descriptor.Digest)) {
		t.Errorf("got %v, want an error about the manifest", err)
	}
}
