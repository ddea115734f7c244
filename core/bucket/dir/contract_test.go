package dir_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
)

func TestContract(t *testing.T) {
	verify := func(string, io.Reader) error { return nil }
	for name, config := range map[string]dir.Config{
		"commits that are synced in the background": {Verify: verify},
		"commits that wait, without a verifier":     {},
		"grouped syncs":                             {Verify: verify, GroupFrom: 1, SyncAll: func() error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			open := func(t *testing.T) bucket.Bucket {
				path := filepath.Join(base, strings.ReplaceAll(t.Name(), "/", "-"))
				storage, err := dir.Open(path, config)
				if err != nil {
					t.Fatal(err)
				}
				b, err := storage.Bucket("private")
				if err != nil {
					t.Fatal(err)
				}
				whole := &wholeStorage{Bucket: b, storage: storage}
				t.Cleanup(func() { whole.Close() })
				return whole
			}
			coretest.Bucket(t, open)
			t.Run("delete if match", func(t *testing.T) { coretest.DeleteIfMatch(t, open) })
			t.Run("open after delete", func(t *testing.T) { coretest.OpenAfterDelete(t, open) })
			t.Run("follow upload", func(t *testing.T) { coretest.FollowUpload(t, open) })
			t.Run("barrier", func(t *testing.T) { coretest.Barrier(t, open) })
			t.Run("rename", func(t *testing.T) { coretest.Rename(t, open) })
			if canShare {
				t.Run("adopt", func(t *testing.T) { coretest.Adopt(t, open) })
			}
		})
	}
}

// wholeStorage is a bucket that also closes its storage, so that it can be opened again.
type wholeStorage struct {
	*dir.Bucket
	storage *dir.Storage
	closed  bool
}

func (w *wholeStorage) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return errors.Join(w.Bucket.Close(), w.storage.Close())
}
