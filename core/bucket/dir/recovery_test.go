package dir_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// killed returns a copy of the storage as a killed process would leave it, with everything that
// the kernel has. Hard links become separate files.
func killed(t *testing.T, s *dir.Storage) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(path, os.DirFS(s.Path())); err != nil {
		t.Fatal(err)
	}
	return path
}

func reopen(t *testing.T, path string, config dir.Config) (*dir.Storage, *dir.Bucket) {
	t.Helper()
	storage, err := dir.Open(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	return storage, b
}

// whole is a Verify: content that begins with its key is whole.
func whole(key string, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil && !bytes.HasPrefix(data, []byte(key)) {
		err = errors.New("torn")
	}
	return err
}

func TestCommitsOfAKilledProcessAreRecovered(t *testing.T) {
	d := &disk{}
	storage, b := open(t, dir.Config{Sync: d.sync})
	release := make(chan struct{})
	d.set(func(path string) error {
		if strings.HasPrefix(path, "uploads/") {
			<-release
		}
		return nil
	})
	put(t, b, "a/put", "put")
	commit(t, b, "a/Whole", "a/Whole and more")
	commit(t, b, "a/torn", "something else")
	commit(t, b, "a/deleted", "a/deleted")
	if err := b.Delete(t.Context(), "a/deleted"); err != nil {
		t.Fatal(err)
	}
	path := killed(t, storage)
	close(release)
	// The leftovers of a crash between two steps.
	pending := filepath.Join(path, "private/pending")
	for name, data := range map[string]string{"a,put": "a/put again", "not ours": "x", "X": "y"} {
		if err := os.WriteFile(filepath.Join(pending, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, "private/tmp/7"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}

	after, b := reopen(t, path, dir.Config{Verify: whole})
	for key, want := range map[string]string{
		"a/put": "put", "a/Whole": "a/Whole and more", "a/torn": "-", "a/deleted": "-",
	} {
		wantObject(t, b, key, want)
	}
	if err := b.Sync(t.Context(), "a/put", "a/Whole", "a/torn"); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{"tmp", "pending"} {
		left, err := os.ReadDir(filepath.Join(after.Path(), "private", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			if dir == "tmp" || strings.HasPrefix(e.Name(), "a,") {
				t.Errorf("%s/%s is left over", dir, e.Name())
			}
		}
	}
}

// After an unclean stop it is unknown which entries are durable, so each directory is synced
// once; after a clean stop all are durable.
func TestAnUncleanStopIsSyncedOnce(t *testing.T) {
	storage, b := open(t, dir.Config{})
	put(t, b, "a/b/c", "x")
	path := killed(t, storage)

	d := &disk{}
	hold := make(chan struct{})
	d.set(func(path string) error {
		if path == "pending" { // the sweep begins here, but must not come first
			<-hold
		}
		return nil
	})
	swept := make(signal)
	log := slog.New(slog.NewTextHandler(swept, nil))
	storage, b = reopen(t, path, dir.Config{Sync: d.sync, Verify: whole, Log: log})
	if err := b.Sync(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	for _, dir := range []string{"objects", "objects/a", "objects/a/b"} {
		if d.synced[dir] == 0 {
			t.Errorf("%s was not synced after the unclean stop", dir)
		}
	}
	d.mu.Unlock()
	close(hold)
	select {
	case <-swept:
	case <-time.After(time.Minute):
		t.Fatal("the sweep does not end")
	}
	if err := storage.Close(); err != nil {
		t.Fatal(err)
	}

	storage, b = reopen(t, path, dir.Config{Verify: whole})
	before := storage.Stats()
	if err := b.Sync(t.Context(), "a/b/c", "x/y/z"); err != nil {
		t.Fatal(err)
	}
	if after := storage.Stats(); after != before {
		t.Errorf("after a clean stop a sync cost %+v, was %+v", after, before)
	}
}

// A bucket that was not opened since the unclean stop is still in the same state.
func TestABucketThatWasNotOpenedStaysInDoubt(t *testing.T) {
	storage, b := open(t, dir.Config{})
	put(t, b, "a/b", "x")
	path := killed(t, storage)
	between, err := dir.Open(path, dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := between.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "clean")); err == nil {
		t.Error("the storage is marked as cleanly stopped")
	}
}

// A power cut may restore the name of an upload that became an object: continuing that upload
// would write into the object.
func TestAnUploadThatBecameAnObjectIsNotFound(t *testing.T) {
	storage, b := open(t, dir.Config{})
	put(t, b, "k", "data")
	tree := filepath.Join(storage.Path(), "private")
	if err := os.Link(filepath.Join(tree, "objects/k"), filepath.Join(tree, "uploads/abc")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Upload(t.Context(), "abc"); !errors.Is(err, bucket.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	wantObject(t, b, "k", "data")
}

func TestForeignFilesAreSkippedWithOneLine(t *testing.T) {
	var log bytes.Buffer
	storage, b := open(t, dir.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	put(t, b, "a/b", "x")
	for _, name := range []string{".DS_Store", "b^f", "two words"} {
		if err := os.WriteFile(filepath.Join(storage.Path(), "private/objects/a", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		for info, err := range b.List(t.Context(), "", "") {
			if err != nil || info.Key != "a/b" {
				t.Errorf("listed %q, %v", info.Key, err)
			}
		}
	}
	if lines := strings.Count(log.String(), "foreign file"); lines != 1 {
		t.Errorf("got %d lines in the log, want 1:\n%s", lines, log.String())
	}
}

func TestEmptyDirectoriesAreRemoved(t *testing.T) {
	storage, b := open(t, dir.Config{})
	put(t, b, "a/b/c/d", "x")
	put(t, b, "a/e", "x")
	if err := b.Delete(t.Context(), "a/b/c/d"); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(t.Context(), "a/b/c/d"); err != nil {
		t.Error(err)
	}
	objects := filepath.Join(storage.Path(), "private/objects")
	if _, err := os.Stat(filepath.Join(objects, "a/b")); err == nil {
		t.Error("an empty directory was not removed")
	}
	wantObject(t, b, "a/e", "x")
}

// signal is a log that is closed when it reports the end of the sweep.
type signal chan struct{}

func (s signal) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("every directory has been synced")) {
		close(s)
	}
	return len(line), nil
}
