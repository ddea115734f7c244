package fusefs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/integration/fusefs"
)

// patience bounds everything that should be quick: a machine that takes longer to
// start or to stop hangs.
const patience = 30 * time.Second

// grace is so short that the collector meets pushes that are under way.
const grace = time.Millisecond

// machine is a registry that runs on a disk.
type machine struct {
	*store.Store
	disk    *fusefs.FS
	storage *dir.Storage
	swept   sweepWatch
	unmount func()
}

// sweepWatch is closed when the storage logs that everything which an earlier
// process left has been synced.
type sweepWatch chan struct{}

func (sweepWatch) Enabled(context.Context, slog.Level) bool { return true }
func (w sweepWatch) WithAttrs([]slog.Attr) slog.Handler     { return w }
func (w sweepWatch) WithGroup(string) slog.Handler          { return w }
func (w sweepWatch) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "every directory has been synced") {
		close(w)
	}
	return nil
}

// settle waits for the sweep after an unclean stop, a second at most: there is none
// on a storage that the cut made new.
func (m *machine) settle() {
	select {
	case <-m.swept:
	case <-time.After(time.Second):
	}
}

// syncs is how a storage makes things durable. The zero value is the usual way: one by
// one, because syncfs(2) does not reach FUSE.
type syncs struct {
	one func(*os.File) error
	// all, if not nil, is called instead of one.
	all func(*fusefs.FS) error
}

// options are for a storage on a disk.
func (s syncs) options(disk *fusefs.FS) dir.Config {
	o := dir.Config{Sync: s.one}
	if s.all != nil {
		o.SyncAll, o.GroupFrom = func() error { return s.all(disk) }, 1
	}
	return o
}

// boot mounts disk and opens the registry on it.
func boot(t testing.TB, disk *fusefs.FS, how syncs) (*machine, error) {
	t.Helper()
	path, unmount, err := disk.Mount(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{disk: disk, swept: make(sweepWatch), unmount: unmount}
	t.Cleanup(unmount)
	err = within(func() error { return m.open(path, how) })
	if err != nil {
		unmount()
		return nil, fmt.Errorf("boot: %w", err)
	}
	return m, nil
}

func (m *machine) open(path string, how syncs) error {
	options := how.options(m.disk)
	options.Verify, options.Log = store.Verify, slog.New(m.swept)
	storage, err := dir.Open(filepath.Join(path, "data"), options)
	if err != nil {
		return err
	}
	bucket, err := storage.Bucket("private")
	if err != nil {
		return errors.Join(err, storage.Close())
	}
	m.storage = storage
	// The index is only a projection: after a power cut another one is built,
	// elsewhere.
	m.Store, err = store.Open(context.Background(), bucket, store.Config{Names: &coretest.MemoryNames{}, Settings: store.Settings{Grace: grace}})
	return err
}

// stop shuts the process down cleanly, if the disk is still alive. The error of a dead disk
// means nothing.
func (m *machine) stop() error {
	defer m.unmount()
	return within(func() error { return errors.Join(m.Store.Close(), m.storage.Close()) })
}

// within runs do and gives up on it when it hangs.
func within(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errors.New("hangs")
	}
}

// budget is how long each search over seeds may take: a few seconds, or the value of
// FUSEFS_BUDGET (a Go duration).
func budget(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("FUSEFS_BUDGET")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("FUSEFS_BUDGET: %v", err)
	}
	return d
}
