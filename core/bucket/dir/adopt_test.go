package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// canShare says that files can be shared on this system, whatever its file system.
const canShare = runtime.GOOS == "linux"

// foreign writes a file of somebody else.
func foreign(t *testing.T, dir string) *os.File {
	t.Helper()
	path := filepath.Join(dir, "foreign")
	old := time.Now().Add(-time.Hour)
	err := errors.Join(os.WriteFile(path, []byte(strings.Repeat("x", 5000)), 0o600), os.Chtimes(path, old, old))
	f, openErr := os.Open(path)
	if err := errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func inTmp(t *testing.T, storage *dir.Storage) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(storage.Path(), "private/tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// The object is the file itself or its clone, and the bytes were synced before they got their name:
// nobody knows whether their writer did that.
func TestAnAdoptedFileIsSyncedBeforeItHasItsName(t *testing.T) {
	if !canShare {
		t.Skip("files are not linked here")
	}
	d := &disk{}
	storage, b := open(t, dir.Config{Sync: d.sync})
	f := foreign(t, t.TempDir())
	a, err := b.Adopt(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Commit(t.Context(), "blobs/k", ""); err != nil {
		t.Fatal(err)
	}
	object, err := os.Stat(filepath.Join(storage.Path(), "private/objects/blobs/k"))
	if err != nil {
		t.Fatal(err)
	}
	was, err := f.Stat()
	if err != nil || os.SameFile(was, object) == a.Cloned() {
		t.Errorf("the object is the file itself: %v, a clone: %v, %v", os.SameFile(was, object), a.Cloned(), err)
	}
	if d.inodes[object.Sys().(*syscall.Stat_t).Ino] == 0 {
		t.Error("its bytes were not synced")
	}
	if n := d.synced["objects/blobs"]; n > 0 {
		t.Errorf("its entry was synced %d times before the barrier", n)
	}
	if err := b.Sync(t.Context(), "blobs/k"); err != nil || d.synced["objects/blobs"] != 1 {
		t.Errorf("its entry was synced %d times, %v, want once", d.synced["objects/blobs"], err)
	}
	if err := a.Close(); err != nil || len(inTmp(t, storage)) > 0 {
		t.Errorf("close: %v, and tmp/ has %v", err, inTmp(t, storage))
	}
}

// After a failed sync the kernel reports success for the same file, so such files are copied: the
// copy is synced by itself.
func TestAFileThatCannotBeSyncedIsNotAdopted(t *testing.T) {
	if !canShare {
		t.Skip("files are not linked here")
	}
	d := &disk{}
	storage, b := open(t, dir.Config{Sync: d.sync})
	f := foreign(t, t.TempDir())
	var syncs atomic.Int32
	d.set(func(path string) error {
		if path == "" || strings.HasPrefix(path, "tmp/") { // outside of the bucket, or a clone
			syncs.Add(1)
			return errDisk
		}
		return nil
	})
	a, err := b.Adopt(t.Context(), f)
	if err == nil { // a clone
		for range 2 {
			if _, _, err := a.Commit(t.Context(), "k", ""); !errors.Is(err, bucket.ErrSync) {
				t.Errorf("commit: got %v, want ErrSync", err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	} else if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	} else if _, err := b.Adopt(t.Context(), f); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the second time: got %v, want ErrUnsupported", err)
	}
	d.set(nil)
	if n := syncs.Load(); n != 1 {
		t.Errorf("the file was synced %d times, want once", n)
	}
	wantObject(t, b, "k", "-")
	if left := inTmp(t, storage); len(left) > 0 {
		t.Errorf("tmp/ has %v", left)
	}
}

// A process that was killed leaves a name in tmp/, which the next one removes; the file stays.
func TestTheNextStartRemovesTheNamesOfAdoptedFiles(t *testing.T) {
	if !canShare {
		t.Skip("files are not linked here")
	}
	path := t.TempDir()
	f := foreign(t, t.TempDir())
	for run := range 2 {
		storage, err := dir.Open(path, dir.Config{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := storage.Bucket("private")
		if err != nil {
			t.Fatal(err)
		}
		if left := inTmp(t, storage); len(left) > 0 {
			t.Errorf("start %d: tmp/ has %v", run, left)
		}
		if _, err := b.Adopt(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if len(inTmp(t, storage)) != 1 {
			t.Error("tmp/ does not have the file")
		}
		if err := storage.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(f.Name()); err != nil || len(data) != 5000 {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
}

// A file on another file system is copied by the caller.
func TestAFileOnAnotherFileSystemIsNotAdopted(t *testing.T) {
	elsewhere, err := os.MkdirTemp("/dev/shm", "adopt")
	if err != nil {
		t.Skip("there is no other file system:", err)
	}
	defer os.RemoveAll(elsewhere)
	storage, b := open(t, dir.Config{})
	f := foreign(t, elsewhere)
	there, err := f.Stat()
	here, hereErr := os.Stat(storage.Path())
	if err := errors.Join(err, hereErr); err != nil {
		t.Fatal(err)
	}
	if there.Sys().(*syscall.Stat_t).Dev == here.Sys().(*syscall.Stat_t).Dev {
		t.Skip("/dev/shm is on the same file system")
	}
	if _, err := b.Adopt(t.Context(), f); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
	if left := inTmp(t, storage); len(left) > 0 {
		t.Errorf("tmp/ has %v", left)
	}
}
