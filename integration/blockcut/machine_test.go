//go:build linux

package blockcut_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// patience bounds a life of a machine, which takes a second or two.
const patience = 2 * time.Minute

// grace is so short that the collector meets pushes that are under way.
const grace = time.Millisecond

// options returns the options of the storage at a path; nil means the defaults.
type options func(path string) dir.Config

// machine is a registry that runs on a disk.
type machine struct {
	*store.Store
	disk    *blockcut.Disk
	storage *dir.Storage
	unmount func() error
}

// boot mounts the disk and opens the registry on it. An error is one that a user of the disk
// would see; the test ends when the kernel does not accept the disk.
func boot(t testing.TB, k blockcut.Kind, disk *blockcut.Disk, how options) (*machine, error) {
	t.Helper()
	path, unmount, err := k.Mount(disk, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount() })
	m := &machine{disk: disk, unmount: unmount}
	if err := m.open(filepath.Join(path, "data"), how); err != nil {
		return nil, errors.Join(fmt.Errorf("boot: %w", err), unmount())
	}
	return m, nil
}

func (m *machine) open(path string, how options) error {
	var o dir.Config
	if how != nil {
		o = how(path)
	}
	o.Verify = store.Verify
	storage, err := dir.Open(path, o)
	if err != nil {
		return err
	}
	bucket, err := storage.Bucket("private")
	if err == nil {
		// The index is only a projection: after a power cut another one is built,
		// elsewhere.
		m.Store, err = store.Open(context.Background(), bucket, store.Config{Names: &coretest.MemoryNames{}, Settings: store.Settings{Grace: grace}})
	}
	if err != nil {
		return errors.Join(err, storage.Close())
	}
	m.storage = storage
	return nil
}

// stop shuts down the process and the machine cleanly.
func (m *machine) stop() error {
	return errors.Join(m.Store.Close(), m.storage.Close(), m.unmount())
}

// job is a client's i-th operation.
type job func(ctx context.Context, c *powercut.Client, i int) error

// pushing pushes a new image.
func pushing(ctx context.Context, c *powercut.Client, _ int) error { return c.Push(ctx, c.NewImage()) }

// mixed is mostly pushes, which need the syncs.
func mixed(ctx context.Context, c *powercut.Client, i int) error {
	if i%4 == 0 {
		return c.Step(ctx)
	}
	return pushing(ctx, c, i)
}

// work runs some operations of each client, and returns the positions at which one was
// answered.
func (m *machine) work(cs []*powercut.Client, operations int, do job) (moments []int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var mu sync.Mutex // guards moments and err
	var group sync.WaitGroup
	for _, c := range cs {
		c.Registry = m.Store
		group.Go(func() {
			for i := range operations {
				failed := do(ctx, c, i)
				mu.Lock()
				moments = append(moments, m.disk.Position())
				err = errors.Join(err, failed)
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return moments, err
}

// losses returns what the machine has lost of each ledger.
func (m *machine) losses(ledgers []*powercut.Ledger) []string {
	var mu sync.Mutex // guards losses
	var losses []string
	var group sync.WaitGroup
	for _, l := range ledgers {
		group.Go(func() {
			found := l.Losses(m.Store)
			mu.Lock()
			defer mu.Unlock()
			losses = append(losses, found...)
		})
	}
	group.Wait()
	return losses
}

// budget is how long each search over seeds may take: a few seconds, or the value of
// BLOCKCUT_BUDGET (a Go duration).
func budget(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("BLOCKCUT_BUDGET")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("BLOCKCUT_BUDGET: %v", err)
	}
	return d
}
