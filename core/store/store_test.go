package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// registry is a store over a directory, with a clock that a test moves.
type registry struct {
	*store.Store
	bucket  bucket.Bucket
	storage *dir.Storage
	ahead   *atomic.Int64 // of the real clock, which gives files their times
}

// open opens the storage at path; it is closed with the test.
func open(t testing.TB, path string, config store.Config) *registry {
	t.Helper()
	storage, err := dir.Open(path, dir.Config{Verify: store.Verify})
	must(t, err)
	b, err := storage.Bucket("private")
	must(t, err)
	if config.Names == nil {
		config.Names = indexAt(t, "", slog.New(slog.DiscardHandler))
	}
	ahead := &atomic.Int64{}
	config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s, err := store.Open(context.Background(), b, config)
	must(t, err)
	r := &registry{Store: s, bucket: b, storage: storage, ahead: ahead}
	t.Cleanup(func() { r.close(t) })
	return r
}

// indexAt opens an index, which the store that is given it closes.
func indexAt(t testing.TB, path string, log *slog.Logger) store.Names {
	t.Helper()
	x, err := index.ForStore(path, log)
	must(t, err)
	return x
}

func (r *registry) close(t testing.TB) {
	t.Helper()
	if r.Store == nil {
		return
	}
	must(t, r.Store.Close(), r.storage.Close())
	r.Store = nil
}

func (r *registry) wait(d time.Duration) { r.ahead.Add(int64(d)) }

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (r *registry) blob(t *testing.T, repo, content string) core.Descriptor {
	t.Helper()
	ctx := context.Background()
	d := digest.FromString(content)
	u, err := r.NewUpload(ctx, repo, digest.SHA256)
	must(t, err)
	defer u.Close()
	_, err = u.Append(ctx, 0, bytes.NewReader([]byte(content)))
	must(t, err)
	desc, err := u.Commit(ctx, d)
	must(t, err)
	return desc
}

// image pushes an image with the given layers and returns its manifest's digest.
func (r *registry) image(t *testing.T, repo string, tags []string, subject digest.Digest, layers ...string) digest.Digest {
	t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: r.blob(t, repo, "{}")}
	m.SchemaVersion = 2
	for _, layer := range layers {
		m.Layers = append(m.Layers, r.blob(t, repo, layer))
	}
	if subject != "" {
		m.Subject = &core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 1}
	}
	return r.put(t, repo, ocispec.MediaTypeImageManifest, m, tags...)
}

func (r *registry) index(t *testing.T, repo string, tags []string, children ...digest.Digest) digest.Digest {
	t.Helper()
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	x.SchemaVersion = 2
	for _, d := range children {
		x.Manifests = append(x.Manifests, core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1})
	}
	return r.put(t, repo, ocispec.MediaTypeImageIndex, x, tags...)
}

func (r *registry) put(t *testing.T, repo, mediaType string, doc any, tags ...string) digest.Digest {
	t.Helper()
	data := marshal(t, doc)
	result, err := r.PutManifest(context.Background(), repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: tags})
	must(t, err)
	return result.Descriptor.Digest
}

func marshal(t testing.TB, doc any) []byte {
	t.Helper()
	data, err := json.Marshal(doc)
	must(t, err)
	return data
}

func (r *registry) has(t *testing.T, repo string, d digest.Digest) bool {
	t.Helper()
	_, err := r.Manifest(context.Background(), repo, core.Reference{Digest: d})
	if err != nil && !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrNameUnknown) {
		t.Fatal(err)
	}
	return err == nil
}

func (r *registry) reads(t *testing.T, repo, content string) bool {
	t.Helper()
	b, err := r.Blob(context.Background(), repo, digest.FromString(content))
	if errors.Is(err, core.ErrBlobUnknown) || errors.Is(err, core.ErrNameUnknown) {
		return false
	}
	must(t, err)
	defer b.Close()
	got, err := io.ReadAll(b)
	must(t, err)
	if string(got) != content {
		t.Fatalf("blob reads %q, want %q", got, content)
	}
	return true
}
