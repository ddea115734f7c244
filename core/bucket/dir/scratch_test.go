package dir

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A scratch file has no name, so nothing of it survives a kill; and where nothing was written
// there is a hole.
func TestAScratchFileHasNoName(t *testing.T) {
	path := t.TempDir()
	storage, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	b, err := storage.Bucket("mirrors")
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("far"), 1<<20); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if n, err := f.ReadAt(got, 1<<20-1); n != 4 || err != nil && err != io.EOF || string(got) != "\x00far" {
		t.Errorf("read %q, %v", got, err)
	}
	left, err := os.ReadDir(filepath.Join(path, "mirrors", tmpDir))
	if err != nil || len(left) > 0 {
		t.Errorf("%d files have a name, %v", len(left), err)
	}
}
