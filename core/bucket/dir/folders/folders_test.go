package folders

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// open returns a tree in a directory that exists for the test.
func open(t *testing.T) (*Tree, string) {
	t.Helper()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	tree := New(root)
	t.Cleanup(func() {
		tree.Close()
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree, path
}

func write(t *testing.T, tree *Tree, path, content string) {
	t.Helper()
	f, err := tree.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	tree, path := open(t)
	must(t, tree.Mkdir("a"))
	must(t, tree.Mkdir("a/b"))
	write(t, tree, "a/b/one", "content")
	when := time.Unix(1_000_000_000, 123_456_000)
	must(t, tree.Chtimes("a/b/one", when))
	must(t, tree.Link("a/b/one", "a/two"))
	got, err := tree.Lstat("a/two")
	if err != nil || got.Size != 7 || !got.Time.Equal(when) || got.Names != 2 || !got.Regular {
		t.Errorf("got %+v, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(path, "a/b/one"))
	if err != nil || StatusOf(info) != got {
		t.Errorf("package os returns %+v, %v, want %+v", StatusOf(info), err, got)
	}
	write(t, tree, "over", "")
	must(t, tree.Rename("a/b/one", "over"))
	must(t, tree.Remove("a/two"))
	if got, err := tree.Lstat("over"); err != nil || got.Names != 1 || got.Size != 7 {
		t.Errorf("after a rename over another file: %+v, %v", got, err)
	}
	if err := tree.RemoveDir("a"); err == nil {
		t.Error("a directory that is not empty was removed")
	}
	if got, err := tree.Lstat("a"); err != nil || got.Regular {
		t.Errorf("a directory: %+v, %v", got, err)
	}
}

// A directory that is kept open must be the one that its path leads to now.
func TestADirectoryThatWasMadeAgainIsAnother(t *testing.T) {
	tree, path := open(t)
	for range 3 {
		must(t, tree.Mkdir("a"))
		write(t, tree, "a/k", "")
		must(t, tree.Remove("a/k"))
		must(t, tree.RemoveDir("a"))
		if _, err := tree.Lstat("a/k"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("below a directory that was removed: %v", err)
		}
	}
	must(t, tree.Mkdir("a"))
	write(t, tree, "a/k", "")
	if _, err := os.Stat(filepath.Join(path, "a/k")); err != nil {
		t.Errorf("a file was written into a directory that was removed: %v", err)
	}
}

func TestASymbolicLinkIsNotFollowed(t *testing.T) {
	tree, path := open(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(path, "directory")))
	must(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(path, "file")))
	for _, name := range []string{"directory/secret", "file"} {
		if f, err := tree.OpenFile(name, os.O_RDONLY); err == nil {
			f.Close()
			t.Errorf("%s led out of the tree", name)
		}
	}
}

func TestOpenDirectoriesAreBounded(t *testing.T) {
	tree, _ := open(t)
	tree.most = 3
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		must(t, tree.Mkdir(name))
		write(t, tree, name+"/k", name)
	}
	if n := len(tree.open); n > tree.most {
		t.Errorf("%d directories are open, want at most %d", n, tree.most)
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if got, err := tree.Lstat(name + "/k"); err != nil || got.Size != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// A directory in use closes after its use.
	err := tree.Directory("a", func(f *os.File) error {
		tree.Close()
		names, err := f.Readdirnames(-1)
		if len(names) != 1 {
			t.Errorf("got %q", names)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
