package store_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// unreadable is a bucket on a disk that fails to read the objects of some versions.
type unreadable struct {
	bucket.Bucket
	failing map[string]bool // by version
}

func (u *unreadable) Open(ctx context.Context, key string) (bucket.Object, error) {
	object, err := u.Bucket.Open(ctx, key)
	if err == nil && u.failing[object.Info().Version] {
		return failingObject{object}, nil
	}
	return object, err
}

type failingObject struct{ bucket.Object }

func (failingObject) Read([]byte) (int, error) { return 0, syscall.EIO }

// A disk that fails now may read the same bytes the next time, so its error condemns no
// object; but verified bytes of an upload replace those that it cannot read.
func TestAnErrorOfTheDiskIsNotDamage(t *testing.T) {
	ctx := context.Background()
	disk := &unreadable{Bucket: openDir(t), failing: map[string]bool{}}
	r := &registry{Store: openStore(t, disk, store.Config{}), bucket: disk}
	layer := r.blob(t, "a", strings.Repeat("layer", 1000))
	image := r.image(t, "a", []string{"v1"}, "", strings.Repeat("layer", 1000))

	fail := func(d digest.Digest) (stop func()) {
		info, err := disk.Stat(ctx, blobFile(d))
		if err != nil {
			t.Fatal(err)
		}
		disk.failing[info.Version] = true
		return func() { delete(disk.failing, info.Version) }
	}
	again := func() *registry { // a new store has nothing in memory
		return &registry{Store: openStore(t, disk, store.Config{}), bucket: disk}
	}

	r = again()
	stop := fail(image)
	_, err := r.Manifest(ctx, "a", core.Reference{Tag: "v1"})
	if !errors.Is(err, syscall.EIO) || errors.Is(err, core.ErrManifestUnknown) {
		t.Errorf("manifest that the disk cannot read: %v, want %v", err, syscall.EIO)
	}
	stop()
	if _, err := r.Manifest(ctx, "a", core.Reference{Tag: "v1"}); err != nil {
		t.Errorf("the same manifest when the disk can read it: %v", err)
	}

	fail(layer.Digest)
	r = again()
	r.blob(t, "a", strings.Repeat("layer", 1000))
	if !r.reads(t, "a", strings.Repeat("layer", 1000)) {
		t.Error("a layer that the disk could not read was pushed again, and cannot be read")
	}
}
