//go:build linux

package blockcut_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// TestSyncsAreNeeded shows that TestNothingAcknowledgedIsLost would detect missing syncs.
// Package fusefs tests them one by one: on a file system with a journal a sync of one file
// makes much else durable.
func TestSyncsAreNeeded(t *testing.T) {
	tests := []struct {
		name    string
		options options
	}{
		{"any", replaced(func(*os.File) error { return nil })},
		{"of files", replaced(unless(func(fi os.FileInfo) bool { return fi.Mode().IsRegular() }))},
		{"of directories", replaced(unless(os.FileInfo.IsDir))},
		{"of groups", grouped()},
		{"of groups, but the flush", grouped(flush)},
		// The flush of groups is not: the commit of a journal flushes. See
		// TestFlushAfterSyncfs.
	}
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			before := used(t, k, format(t, k))
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					seed, loss := search(round{t: t, kind: k, before: before, options: tt.options}, budget(t, time.Minute))
					if loss == "" {
						t.Fatalf("skipped in %d runs without a loss", seed)
					}
					t.Logf("seed %d: %s", seed, loss)
				})
			}
		})
	}
}

// replaced has the storage sync by sync, and makes no groups.
func replaced(sync func(*os.File) error) options {
	return func(string) dir.Config { return dir.Config{Sync: sync} }
}

// grouped replaces a group of syncs by steps, in order, on a file of the storage that has
// nothing to write. The correct steps are syncfs, then flush.
func grouped(steps ...func(*os.File) error) options {
	return func(path string) dir.Config {
		return dir.Config{SyncAll: func() error {
			f, err := os.Open(filepath.Join(path, "layout.json"))
			if err != nil {
				return err
			}
			defer f.Close()
			for _, step := range steps {
				if err := step(f); err != nil {
					return err
				}
			}
			return nil
		}}
	}
}

func syncfs(f *os.File) error { return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))) }

func flush(f *os.File) error { return f.Sync() }

// unless syncs everything except the skipped files.
func unless(skip func(os.FileInfo) bool) func(*os.File) error {
	return func(f *os.File) error {
		fi, err := f.Stat()
		if err != nil || skip(fi) {
			return err
		}
		return f.Sync()
	}
}

// search plays rounds until one has a loss, and returns the first.
func search(r round, patience time.Duration) (seed uint64, loss string) {
	r.t.Helper()
	var sum tally
	for end := time.Now().Add(patience); time.Now().Before(end) || r.seed == 0; r.seed++ {
		losses, err := r.play(&sum)
		if err != nil {
			r.t.Fatalf("seed %d: %v", r.seed, err)
		}
		if len(losses) > 0 {
			return r.seed, losses[0]
		}
	}
	return r.seed, ""
}

// An ext4 without a journal sends its metadata on the way before the only flush of a
// syncfs and awaits it after that: there the flush that follows in a group is needed. After a
// power cut a checker has to guess the state of such a file system, whatever was synced; so
// this test checks only the disk.
func TestFlushAfterSyncfs(t *testing.T) {
	w := mounted(t, blockcut.Ext4Bare, format(t, blockcut.Ext4Bare))
	top, err := os.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	const rounds = 50
	left := 0
	for i := range rounds {
		for _, name := range []string{"a", "b", "c"} {
			w.write(fmt.Sprint(name, i), "content", false)
		}
		if err := syncfs(top); err != nil {
			t.Fatal(err)
		}
		if w.disk.Unflushed(w.disk.Position()) > 0 {
			left++
		}
		if err := flush(top); err != nil {
			t.Fatal(err)
		}
		if n := w.disk.Unflushed(w.disk.Position()); n > 0 {
			t.Errorf("%d writes are not flushed after the flush", n)
		}
	}
	if left == 0 {
		t.Errorf("%d times syncfs left nothing unflushed: no flush is needed", rounds)
	}
	t.Logf("%d times of %d", left, rounds)
}

// The storage flushes after each syncfs, which also flushes.
func TestGroupsFlush(t *testing.T) {
	disk := used(t, blockcut.Ext4Bare, format(t, blockcut.Ext4Bare)).Clone()
	m, err := boot(t, blockcut.Ext4Bare, disk, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.stop()
	var cs []*powercut.Client
	for id := range clients {
		cs = append(cs, powercut.NewClient(id, 0, nil))
	}
	var groups, flushes int
	for end := time.Now().Add(patience); groups == 0 && time.Now().Before(end); {
		writeOthers(t)
		before := disk.Flushes()
		if _, err := m.work(cs, operations/2, pushing); err != nil {
			t.Fatal(err)
		}
		groups, flushes = int(m.storage.Stats().Groups), disk.Flushes()-before
	}
	if groups == 0 || flushes < 2*groups {
		t.Errorf("%d flushes by %d groups, want two for each", flushes, groups)
	}
}
