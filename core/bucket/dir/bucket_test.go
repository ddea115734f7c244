package dir

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
)

func openOne(t *testing.T) *Bucket {
	t.Helper()
	storage, err := Open(t.TempDir(), Config{Verify: func(string, io.Reader) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := storage.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The memory of a bucket depends on the writes in flight, not on all writes so far.
func TestTheLedgerForgetsWhatIsDurable(t *testing.T) {
	b := openOne(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for j := range 20 {
				key := fmt.Sprintf("a/%d/%d/k", i, j)
				if _, err := b.Put(t.Context(), key, nil, bucket.Condition{IfAbsent: true}); err != nil {
					t.Error(err)
				}
				if j%2 == 0 {
					if err := b.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
				if err := b.Sync(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := b.syncAll(); err != nil {
		t.Fatal(err)
	}
	b.work.Wait()
	if size := b.ledger.Size(); size != 0 {
		t.Errorf("the ledger holds %d entries when everything is durable: %v", size, b.ledger.Dirty())
	}
}

func TestUnsyncedWritesAreFlushed(t *testing.T) {
	b := openOne(t)
	for i := range maxDirty + maxDirty/4 {
		key := fmt.Sprintf("a/%d", i)
		if _, err := b.Put(t.Context(), key, nil, bucket.Condition{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
	}
	b.work.Wait()
	if size := b.ledger.Size(); size >= maxDirty {
		t.Errorf("the ledger holds %d entries, want fewer than %d", size, maxDirty)
	}
}

func TestSameDevice(t *testing.T) {
	one, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if !sameDevice(one, one) {
		t.Error("a directory is not on the same device as itself")
	}
	other, err := os.OpenRoot("/dev")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if sameDevice(one, other) {
		t.Error("the directory for temporary files and /dev are on the same device")
	}
}
