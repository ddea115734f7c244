package dir

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
)

func openOne(t *testing.T) *Bucket {
	t.Helper()
	storage, err := Open(t.TempDir(), Options{Verify: func(string, io.Reader) error { return nil }})
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

// The memory of a bucket follows what is in flight, not what was ever written.
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
	if size := b.ledger.size(); size != 0 {
		t.Errorf("the ledger holds %d entries when everything is durable: %v", size, b.ledger.dirs)
	}
}

func TestWritesThatNobodySyncsAreFlushed(t *testing.T) {
	b := openOne(t)
	for i := range maxDirty + maxDirty/4 {
		key := fmt.Sprintf("a/%d", i)
		if _, err := b.Put(t.Context(), key, nil, bucket.Condition{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
	}
	b.work.Wait()
	if size := b.ledger.size(); size >= maxDirty {
		t.Errorf("the ledger holds %d entries, want fewer than %d", size, maxDirty)
	}
}

func TestTheLedgerInOrder(t *testing.T) {
	const path = "objects/d/k"
	l := newLedger(false)
	if waits := l.need(nil, path); len(waits) != 0 {
		t.Fatalf("nothing was written and %v is to be synced", waits)
	}
	l.begin(path)
	before := l.need(nil, path) // a reader may see it already
	if len(before) != 1 || before[0].dir != "objects/d" {
		t.Fatalf("got %v for a write that is under way, want its directory", before)
	}
	run, start := l.join("objects/d", before[0].seq)
	if !start || l.next("objects/d") != run {
		t.Fatal("the first who waits does not start the loop")
	}
	l.end(path, created)
	after := l.need(nil, path)
	if again, start := l.join("objects/d", after[0].seq); again == run || start {
		t.Error("a change that came after a sync began is taken as covered by it")
	}
	if same, _ := l.join("objects/d", before[0].seq); same != run {
		t.Error("who waits for an older change waits for another sync")
	}
	l.succeed("objects/d", run)
	if len(l.need(nil, path)) != 1 {
		t.Error("the ledger forgot a change that the sync did not cover")
	}
	second := l.next("objects/d")
	l.succeed("objects/d", second)
	if l.next("objects/d") != nil || l.size() != 0 || len(l.need(nil, path)) != 0 {
		t.Errorf("the ledger still holds %v", l.dirs)
	}
}
