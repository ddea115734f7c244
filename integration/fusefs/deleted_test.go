package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/integration/fusefs"
)

// A committed upload that was deleted must not come back from pending/. The store is not
// affected, because content without a link belongs to no repository, but the bucket promises
// it.
func TestDeletedUploadStaysDeleted(t *testing.T) {
	honest := &saboteur{}
	liar := &saboteur{skip: "(*Bucket).syncLoop of private/pending"}
	noticed := false
	for seed := range uint64(40) {
		if deletedUploadReturns(t, seed, honest.sync) {
			t.Fatalf("seed %d: a deleted object is back after the cut", seed)
		}
		noticed = noticed || deletedUploadReturns(t, seed, liar.sync)
	}
	if !noticed {
		t.Error("no seed shows that the sync of pending/ is needed")
	}
}

// deletedUploadReturns commits an upload, deletes it, cuts the power and reports
// whether the object is there again.
func deletedUploadReturns(t *testing.T, seed uint64, sync func(*os.File) error) bool {
	t.Helper()
	ctx := context.Background()
	data := []byte("content")
	key := "blobs/sha256/ab/" + digest.FromBytes(data).Encoded()
	disk := fusefs.New(fusefs.Options{})
	b, end := openBucket(t, disk, sync)
	if _, err := b.Put(ctx, "warm/up", nil, bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
	up, err := b.NewUpload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Append(ctx, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Commit(ctx, key, ""); err != nil {
		t.Fatal(err)
	}
	// pending/ becomes durable with the upload in it, as by an unlucky flush.
	if err := syncPath(filepath.Join(b.path, "private/pending")); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(ctx, key); err != nil {
		t.Fatal(err)
	}
	after := disk.Cut(rand.New(rand.NewPCG(seed, 5)))
	end()
	b, end = openBucket(t, after, sync)
	defer end()
	_, err = b.Stat(ctx, key)
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

type openedBucket struct {
	*dir.Bucket
	path string
}

// openBucket opens a bucket on disk without a store.
func openBucket(t *testing.T, disk *fusefs.FS, sync func(*os.File) error) (b openedBucket, end func()) {
	t.Helper()
	path, unmount, err := disk.Mount(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unmount)
	// Any bytes that are all there are whole: a torn file is not the subject here.
	verify := func(_ string, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	storage, err := dir.Open(path, dir.Config{Verify: verify, Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	held, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	return openedBucket{held, path}, func() {
		storage.Close() // its error is the dead disk's
		unmount()
	}
}
