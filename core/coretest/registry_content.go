package coretest

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// fixture is a registry and what a test does to it; a step that must succeed and
// does not ends the test.
type fixture struct {
	testing.TB
	reg, fill core.Registry
}

// upload pushes data into reg, whole.
func upload(t testing.TB, reg core.Registry, repo string, alg digest.Algorithm, data []byte) core.Descriptor {
	t.Helper()
	up, err := reg.NewUpload(t.Context(), repo, alg)
	if err != nil {
		t.Fatalf("new upload in %s: %v", repo, err)
	}
	defer up.Close()
	if _, err := up.Append(t.Context(), 0, bytes.NewReader(data)); err != nil {
		t.Fatalf("append to %s: %v", repo, err)
	}
	desc, err := up.Commit(t.Context(), alg.FromBytes(data))
	if err != nil {
		t.Fatalf("commit in %s: %v", repo, err)
	}
	return desc
}

// blob pushes data and describes it as a layer.
func (f *fixture) blob(repo string, data string) core.Descriptor {
	f.Helper()
	desc := upload(f, f.fill, repo, digest.SHA256, []byte(data))
	desc.MediaType = ocispec.MediaTypeImageLayerGzip
	return desc
}

// config pushes a config that differs with seed.
func (f *fixture) config(repo, seed string) core.Descriptor {
	f.Helper()
	desc := f.blob(repo, `{"architecture":"amd64","os":"linux","author":"`+seed+`"}`)
	desc.MediaType = ocispec.MediaTypeImageConfig
	return desc
}

// image pushes a config, a layer and the manifest that names them; images with
// different seeds are different.
func (f *fixture) image(repo, seed string, tags ...string) core.Manifest {
	f.Helper()
	data := imageOf(f.config(repo, seed), f.blob(repo, "layer of "+seed))
	return f.put(repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data, Tags: tags})
}

// referrer pushes an artifact that refers to subject.
func (f *fixture) referrer(repo, seed, artifactType string, subject core.Descriptor) core.Manifest {
	f.Helper()
	config := f.blob(repo, "{}")
	config.MediaType = ocispec.MediaTypeEmptyJSON
	data := encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: config, Layers: []core.Descriptor{}, Subject: &subject,
		Annotations: map[string]string{"seed": seed},
	})
	return f.put(repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data})
}

func (f *fixture) put(repo string, put core.ManifestPut) core.Manifest {
	f.Helper()
	result, err := f.fill.PutManifest(f.Context(), repo, put)
	if err != nil {
		f.Fatalf("put manifest in %s: %v", repo, err)
	}
	return core.Manifest{Descriptor: result.Descriptor, Bytes: put.Bytes}
}

// wantManifest checks that ref names m, byte for byte, for both ways of asking.
func (f *fixture) wantManifest(repo string, ref core.Reference, m core.Manifest) {
	f.Helper()
	got, err := f.reg.Manifest(f.Context(), repo, ref)
	if err != nil {
		f.Errorf("manifest %s:%s: %v", repo, ref, err)
		return
	}
	if !bytes.Equal(got.Bytes, m.Bytes) {
		f.Errorf("manifest %s:%s: got %q, want %q", repo, ref, got.Bytes, m.Bytes)
	}
	wantDescriptor(f, "manifest "+repo+":"+ref.String(), got.Descriptor, m.Descriptor)
	resolved, err := f.reg.Resolve(f.Context(), repo, ref)
	if err != nil {
		f.Errorf("resolve %s:%s: %v", repo, ref, err)
		return
	}
	wantDescriptor(f, "resolve "+repo+":"+ref.String(), resolved, m.Descriptor)
}

// wantNoManifest checks that ref names nothing in a repository that holds
// something else.
func (f *fixture) wantNoManifest(repo string, ref core.Reference) {
	f.Helper()
	_, err := f.reg.Manifest(f.Context(), repo, ref)
	wantUnknown(f, "manifest "+repo+":"+ref.String(), err, core.ErrManifestUnknown)
	_, err = f.reg.Resolve(f.Context(), repo, ref)
	wantUnknown(f, "resolve "+repo+":"+ref.String(), err, core.ErrManifestUnknown)
}

// wantBlob checks that repo holds data under d.
func (f *fixture) wantBlob(repo string, d digest.Digest, data string) {
	f.Helper()
	blob, err := f.reg.Blob(f.Context(), repo, d)
	if err != nil {
		f.Errorf("blob %s of %s: %v", d, repo, err)
		return
	}
	defer blob.Close()
	got, err := io.ReadAll(blob)
	if err != nil || string(got) != data {
		f.Errorf("blob %s of %s: got %q and error %v, want %q", d, repo, got, err, data)
	}
}

func (f *fixture) wantNoBlob(repo string, d digest.Digest) {
	f.Helper()
	if blob, err := f.reg.Blob(f.Context(), repo, d); err == nil {
		blob.Close()
		f.Errorf("blob %s of %s: is readable, want it not to be", d, repo)
	} else {
		wantUnknown(f, "blob "+string(d)+" of "+repo, err, core.ErrBlobUnknown)
	}
	_, err := f.reg.Stat(f.Context(), repo, d)
	wantUnknown(f, "stat "+string(d)+" of "+repo, err, core.ErrBlobUnknown)
}

func wantDescriptor(t testing.TB, what string, got, want core.Descriptor) {
	t.Helper()
	if got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType {
		t.Errorf("%s: got descriptor %s %d %s, want %s %d %s", what,
			got.Digest, got.Size, got.MediaType, want.Digest, want.Size, want.MediaType)
	}
}

// imageOf is an OCI image manifest.
func imageOf(config core.Descriptor, layers ...core.Descriptor) []byte {
	return encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: append([]core.Descriptor{}, layers...),
	})
}

// indexOf is an OCI image index.
func indexOf(children ...core.Descriptor) []byte {
	return encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append([]core.Descriptor{}, children...),
	})
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // the values are this package's own
	}
	return data
}

// collect reads a sequence to its end.
func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func tagged(tag string) core.Reference        { return core.Reference{Tag: tag} }
func digested(d digest.Digest) core.Reference { return core.Reference{Digest: d} }
func absentDigest(seed string) digest.Digest  { return digest.FromString("absent " + seed) }
