package store_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// A mirror holds only the requested parts of an image.
func TestSparseStoreTakesManifestsWithoutTheirBlobs(t *testing.T) {
	const repo = "docker.io/library/nginx"
	image := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []core.Descriptor{
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("held"), Size: int64(len("held"))},
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("absent"), Size: 6},
	}}
	image.SchemaVersion = 2
	image.Config = core.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}

	dense := open(t, t.TempDir(), store.Config{})
	_, err := dense.PutManifest(context.Background(), repo, core.ManifestPut{MediaType: image.MediaType, Bytes: marshal(t, image)})
	if !errors.Is(err, core.ErrManifestBlobUnknown) {
		t.Errorf("in a store that is not sparse: got %v, want %v", err, core.ErrManifestBlobUnknown)
	}

	sparse := open(t, t.TempDir(), store.Config{Sparse: true})
	sparse.blob(t, repo, "held")
	sparse.blob(t, repo, "named by nothing")
	d := sparse.put(t, repo, image.MediaType, image, "latest")
	if !sparse.has(t, repo, d) {
		t.Error("the manifest is not readable")
	}
	// The collector does not take the missing blobs for damage.
	sparse.wait(3 * time.Hour)
	got, err := sparse.Collect(context.Background(), store.CollectOptions{})
	must(t, err)
	if got.Links != 1 || got.Manifests != 0 {
		t.Errorf("collected %+v, want the one link that no manifest needs", got)
	}
	if !sparse.reads(t, repo, "held") || sparse.reads(t, repo, "named by nothing") {
		t.Error("the collector took the wrong blob")
	}
}

// The first reader of an image from a mirror has not pushed it, and no record names
// them. A private store records who pushed.
func TestOnlyPushesHaveANameInTheRecords(t *testing.T) {
	for _, sparse := range []bool{true, false} {
		w, err := newWorld()
		must(t, err, w.Close())
		config := w.collecting()
		config.Sparse = sparse
		w.Store, err = store.Open(t.Context(), w.memory, config)
		must(t, err, w.push(as(t, "ada"), repo, "config", "one", "v1"), w.push(as(t, "ada"), repo, "config", "two", "v1"))
		_, err = w.Mount(as(t, "ada"), "team/copy", repo, digest.FromString("one"))
		must(t, err, w.Close())
		named := 0
		for key, o := range w.memory.visible {
			if bytes.Contains(o.data, []byte("ada")) {
				named++
				if sparse {
					t.Errorf("the record %s of a mirror is %s", key, o.data)
				}
			} else if !sparse && strings.Contains(key, "+") {
				t.Errorf("the record %s of a push is %s", key, o.data)
			}
		}
		if !sparse && named != 7 { // four links of blobs, two manifests, a tag
			t.Errorf("%d records name the pusher, want 7", named)
		}
	}
}
