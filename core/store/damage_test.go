package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// damaged is a registry with an image in the repository a, of whose files one is about
// to be damaged.
type damaged struct {
	*registry
	t     *testing.T
	path  string
	log   *bytes.Buffer
	image core.ManifestPut
	layer string
}

func newDamaged(t *testing.T) *damaged {
	d := &damaged{t: t, path: t.TempDir(), log: &bytes.Buffer{}, layer: strings.Repeat("layer ", 5000)}
	d.start()
	d.image = d.imageIn("a")
	d.push("a", true)
	return d
}

func (d *damaged) start() {
	d.registry = open(d.t, d.path, store.Config{Log: slog.New(slog.NewTextHandler(d.log, nil))})
}

func (d *damaged) restart() {
	d.close(d.t)
	d.start()
}

// imageIn pushes the blobs of the image to repo and returns its manifest.
func (d *damaged) imageIn(repo string) core.ManifestPut {
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: d.blob(d.t, repo, "{}"),
		Layers: []core.Descriptor{d.blob(d.t, repo, d.layer)},
	}
	m.SchemaVersion = 2
	return core.ManifestPut{MediaType: m.MediaType, Bytes: marshal(d.t, m), Tags: []string{"v1"}}
}

// push pushes the whole image.
func (d *damaged) push(repo string, createOnly bool) {
	d.t.Helper()
	put := d.imageIn(repo)
	put.CreateOnly = createOnly
	if _, err := d.PutManifest(context.Background(), repo, put); err != nil {
		d.t.Errorf("push to %s: %v", repo, err)
	}
}

func (d *damaged) digest() digest.Digest { return digest.FromBytes(d.image.Bytes) }

// file is where a key is on the disk.
func (d *damaged) file(key string) string {
	return filepath.Join(d.path, "private", "objects", filepath.FromSlash(key))
}

func blobFile(d digest.Digest) string {
	return "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded()
}

// answer is the result of reading the manifest or the layer: HEAD and GET must agree.
type answer string

const (
	right   answer = "right"
	missing answer = "missing"
	wrong   answer = "wrong"
)

func (d *damaged) manifestIn(repo string, ref core.Reference) answer {
	d.t.Helper()
	desc, headErr := d.Resolve(context.Background(), repo, ref)
	m, err := d.Manifest(context.Background(), repo, ref)
	if (headErr == nil) != (err == nil) {
		d.t.Errorf("HEAD of %v: %v, GET: %v", ref, headErr, err)
	}
	switch {
	case errors.Is(err, core.ErrManifestUnknown), errors.Is(err, core.ErrNameUnknown):
		return missing
	case err != nil:
		return answer(err.Error())
	case !bytes.Equal(m.Bytes, d.image.Bytes) || desc.Digest != d.digest() || m.Descriptor.MediaType != d.image.MediaType:
		return wrong
	}
	return right
}

func (d *damaged) layerIn(repo string) answer {
	d.t.Helper()
	desc, headErr := d.Stat(context.Background(), repo, digest.FromString(d.layer))
	b, err := d.Blob(context.Background(), repo, digest.FromString(d.layer))
	if (headErr == nil) != (err == nil) {
		d.t.Errorf("HEAD of the layer: %v, GET: %v", headErr, err)
	}
	switch {
	case errors.Is(err, core.ErrBlobUnknown), errors.Is(err, core.ErrNameUnknown):
		return missing
	case err != nil:
		return answer(err.Error())
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	must(d.t, err)
	if string(got) != d.layer || desc.Size != int64(len(d.layer)) {
		return wrong
	}
	return right
}

var (
	byTag    = core.Reference{Tag: "v1"}
	byDigest = func(d *damaged) core.Reference { return core.Reference{Digest: d.digest()} }
)

// harms are the ways in which a file is damaged. It gets another inode: many empty
// objects are one file.
var harms = map[string]func(data []byte) []byte{
	"flipped": func(data []byte) []byte {
		if len(data) == 0 {
			return []byte("x")
		}
		data[len(data)/2] ^= 0x10
		return data
	},
	"cut":       func(data []byte) []byte { return data[:len(data)/2] },
	"emptied":   func([]byte) []byte { return nil },
	"overgrown": func(data []byte) []byte { return append(data, make([]byte, 5<<20)...) },
	"removed":   nil,
}

func (d *damaged) harm(key, how string) {
	d.t.Helper()
	file := d.file(key)
	data, err := os.ReadFile(file)
	must(d.t, err, os.Remove(file))
	if change := harms[how]; change != nil {
		must(d.t, os.WriteFile(file, change(data), 0o600))
	}
}

// TestDamage damages each kind of file in each way, while the store is open and before
// it is opened. Only bytes that match their digest are served, except where a damaged
// blob has the right length: only reading it reveals the damage. A push of the same
// image puts everything right, on the disk as well.
func TestDamage(t *testing.T) {
	kinds := []struct {
		name, key string
		// tag, digest and layer are the answers; an empty one is right.
		tag, digest, layer answer
		// refused: a push that may only create is refused, as the tag may name anything.
		refused bool
		// except has other answers for some harms.
		except map[string][3]answer
	}{
		{name: "blob", key: "layer", layer: missing, except: map[string][3]answer{"flipped": {"", "", wrong}}},
		{name: "blob's link", key: "link", except: map[string][3]answer{"removed": {"", "", missing}}},
		{name: "manifest's content", key: "manifest", tag: missing, digest: missing},
		// The manifest names its media type, so only who pushed it and when is lost.
		{name: "manifest's record", key: "record", except: map[string][3]answer{"removed": {missing, missing, ""}}},
		{name: "tag's record", key: "tag", tag: missing, refused: true},
	}
	for _, kind := range kinds {
		for how := range harms {
			for _, serving := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s, serving %v", kind.name, how, serving), func(t *testing.T) {
					d := newDamaged(t)
					layer := digest.FromString(d.layer)
					key := map[string]string{
						"layer": blobFile(layer), "link": blobFile(layer) + "+a", "manifest": blobFile(d.digest()),
						"record": strings.Replace(blobFile(d.digest()), "blobs", "manifests", 1) + "+a", "tag": "repos/a/_tags/v1",
					}[kind.key]
					d.harm(key, how)
					if !serving {
						d.restart()
					}
					tag, byDigestWant, layerWant := kind.tag, kind.digest, kind.layer
					if other, ok := kind.except[how]; ok {
						tag, byDigestWant, layerWant = other[0], other[1], other[2]
					}
					wants := func(what string, got, want answer) {
						t.Helper()
						if want == "" {
							want = right
						}
						if got != want {
							t.Errorf("%s: got %s, want %s", what, got, want)
						}
					}
					wants("manifest by tag", d.manifestIn("a", byTag), tag)
					wants("manifest by digest", d.manifestIn("a", byDigest(d)), byDigestWant)
					wants("layer", d.layerIn("a"), layerWant)
					_, err := d.Mount(t.Context(), "b", "a", layer)
					if (layerWant == missing) != errors.Is(err, core.ErrBlobUnknown) || layerWant != missing && err != nil {
						t.Errorf("mount: %v", err)
					}

					put := d.imageIn("a")
					put.CreateOnly = true
					_, err = d.PutManifest(t.Context(), "a", put)
					if refused := kind.refused && how != "removed"; refused != errors.Is(err, core.ErrTagExists) || !refused && err != nil {
						t.Errorf("push that may only create: %v, want refused %v", err, refused)
					}
					d.push("a", false)
					for range 2 {
						wants("after a push: manifest by tag", d.manifestIn("a", byTag), right)
						wants("after a push: manifest by digest", d.manifestIn("a", byDigest(d)), right)
						wants("after a push: layer", d.layerIn("a"), right)
						d.restart()
					}
					d.close(t) // the index is rebuilt in the background, which logs, too
					if harmed := tag == missing || byDigestWant == missing || layerWant == missing; harmed && how != "removed" {
						if got := strings.Count(d.log.String(), "damaged and treated as missing"); got != 1 {
							t.Errorf("logged %d times, want once: %s", got, d.log)
						}
					}
				})
			}
		}
	}
}

// Content belongs to all repositories, so a push to one repairs it for the others.
func TestAPushToAnotherRepositoryRepairsContent(t *testing.T) {
	for how := range harms {
		t.Run(how, func(t *testing.T) {
			d := newDamaged(t)
			d.harm(blobFile(digest.FromString(d.layer)), how)
			d.harm(blobFile(d.digest()), how)
			d.restart()
			d.push("b", true)
			for _, repo := range []string{"a", "b"} {
				if got := d.manifestIn(repo, byTag); got != right {
					t.Errorf("manifest of %s: %s", repo, got)
				}
				if got := d.layerIn(repo); got != right {
					t.Errorf("layer of %s: %s", repo, got)
				}
			}
		})
	}
}

// A client that got the answer that the blob exists pushes only the manifest. The size does not
// decide then: one of the two is wrong, and the bytes show which.
func TestAManifestIsHeldToTheBytesOfItsBlobs(t *testing.T) {
	d := newDamaged(t)
	layer := digest.FromString(d.layer)
	d.harm(blobFile(layer), "cut")
	d.restart()
	if _, err := d.Stat(t.Context(), "a", layer); err != nil {
		t.Errorf("HEAD of a blob whose size is not known: %v", err)
	}
	_, err := d.PutManifest(t.Context(), "a", d.image)
	if !errors.Is(err, core.ErrManifestBlobUnknown) {
		t.Errorf("manifest over a blob that was cut: %v, want %v", err, core.ErrManifestBlobUnknown)
	}
	if got := d.layerIn("a"); got != missing {
		t.Errorf("blob that was cut: %s, want %s", got, missing)
	}
	d.push("a", true)

	d.restart()
	lies := bytes.Replace(d.image.Bytes, fmt.Appendf(nil, `"size":%d`, len(d.layer)), fmt.Appendf(nil, `"size":%d`, len(d.layer)-1), 1)
	if bytes.Equal(lies, d.image.Bytes) {
		t.Fatal("the manifest does not name the layer's size")
	}
	_, err = d.PutManifest(t.Context(), "a", core.ManifestPut{MediaType: d.image.MediaType, Bytes: lies})
	if !errors.Is(err, core.ErrManifestInvalid) {
		t.Errorf("manifest with a wrong size: %v, want %v", err, core.ErrManifestInvalid)
	}
	if got := d.layerIn("a"); got != right {
		t.Errorf("blob after a manifest with a wrong size: %s", got)
	}
}

// In a mirror the size in a manifest is the upstream's guess.
func TestAWrongSizeInASparseStoreHidesNothing(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Sparse: true})
	image := func(size int64) ocispec.Manifest {
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: core.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("config"), Size: size,
		}}
		m.SchemaVersion = 2
		return m
	}
	r.put(t, "a", ocispec.MediaTypeImageManifest, image(5), "bad")
	r.blob(t, "a", "config")
	r.put(t, "a", ocispec.MediaTypeImageManifest, image(7), "worse")
	if !r.reads(t, "a", "config") {
		t.Error("a blob is hidden by a manifest's wrong size")
	}
}

func TestAnUploadWhoseFileWasCutIsNoBlob(t *testing.T) {
	d := newDamaged(t)
	u, err := d.NewUpload(t.Context(), "a", digest.SHA256)
	must(t, err)
	defer u.Close()
	_, err = u.Append(t.Context(), 0, strings.NewReader("some content"))
	must(t, err)
	files, err := filepath.Glob(filepath.Join(d.path, "private", "uploads", "*"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("%d uploads, want 1", len(files))
	}
	must(t, os.Truncate(files[0], 4))
	if _, err = u.Commit(t.Context(), digest.FromString("some content")); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("commit: %v, want %v", err, core.ErrUnavailable)
	}
	if d.reads(t, "a", "some content") {
		t.Error("the blob is there")
	}
}

// BenchmarkPushOfABlob pushes 64 MiB that are new, and 64 MiB that are held: those are
// read through their digest before the upload is dropped.
func BenchmarkPushOfABlob(b *testing.B) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	d := digest.FromBytes(content)
	for _, held := range []bool{false, true} {
		b.Run(fmt.Sprintf("held %v", held), func(b *testing.B) {
			r := open(b, b.TempDir(), store.Config{})
			push := func() {
				u, err := r.NewUpload(b.Context(), "a", digest.SHA256)
				must(b, err)
				_, err = u.Append(b.Context(), 0, bytes.NewReader(content))
				must(b, err)
				_, err = u.Commit(b.Context(), d)
				must(b, err, u.Close(), bucket.Sync(b.Context(), r.bucket, blobFile(d)))
			}
			push()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if !held {
					b.StopTimer()
					must(b, r.bucket.Delete(b.Context(), blobFile(d)))
					b.StartTimer()
				}
				push()
			}
		})
	}
}
