package layout

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// Root is a directory of somebody else, which is only read. Its paths are relative to it and
// have slashes.
type Root struct{ root *os.Root }

// OpenRoot opens a directory. The caller closes it.
func OpenRoot(dir string) (*Root, error) {
	// A fifo in its place would block os.OpenRoot.
	fi, err := os.Stat(dir)
	if err == nil {
		err = expect(dir, fi, fs.ModeDir)
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root}, nil
}

// Close closes the directory.
func (r *Root) Close() error { return r.root.Close() }

// Lstat describes a file.
func (r *Root) Lstat(name string) (fs.FileInfo, error) { return r.root.Lstat(name) }

// Entries lists a directory that was reached without a symbolic link, in the order of the names.
func (r *Root) Entries(dir string) ([]fs.DirEntry, error) {
	f, err := r.Open(dir, fs.ModeDir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// Open opens a regular file for reading, or a directory if kind is fs.ModeDir. Each
// component of the path is looked at before: a symbolic link is not followed, and a fifo or
// a device is never opened, because opening one may block or act. Root keeps the path in the
// tree also while somebody changes it, and then O_NONBLOCK keeps a fifo from blocking.
func (r *Root) Open(name string, kind fs.FileMode) (*os.File, error) {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		want := fs.ModeDir
		if i == len(name) {
			want = kind
		}
		fi, err := r.root.Lstat(name[:i])
		if err != nil {
			return nil, err
		}
		if err := expect(name[:i], fi, want); err != nil {
			return nil, err
		}
	}
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = expect(name, fi, kind)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// expect returns an error unless a file is of a kind: fs.ModeDir, or 0 for a regular file.
func expect(name string, fi fs.FileInfo, kind fs.FileMode) error {
	reason := "not a regular file"
	switch {
	case fi.Mode().Type() == kind:
		return nil
	case fi.Mode()&fs.ModeSymlink != 0:
		reason = "symbolic links are not followed"
	case kind == fs.ModeDir:
		reason = "not a directory"
	}
	return &fs.PathError{Op: "open", Path: name, Err: errors.New(reason)}
}

// Whole reads a regular file of at most most bytes.
func (r *Root) Whole(name string, most int64) ([]byte, error) { return whole(r, name, most) }

// content opens a regular file, and returns its size in bytes. The reader is an *os.File.
func (r *Root) content(name string) (io.ReadCloser, int64, error) {
	f, err := r.Open(name, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// Index reads index.json of the layout in the directory at, in the file's order. The digests
// are well-formed. Errors: those of the file.
func (r *Root) Index(at string) ([]Entry, error) { return index(r, at) }

// Manifest reads a manifest of the layout in the directory at. Errors: transfer.ErrAbsent.
func (r *Root) Manifest(at string, d digest.Digest) ([]byte, error) { return manifest(r, at, d) }

// Blob opens a blob of the layout in the directory at, and returns its size in bytes. The
// reader is an *os.File. Errors: transfer.ErrAbsent.
func (r *Root) Blob(at string, d digest.Digest) (io.ReadCloser, int64, error) { return blob(r, at, d) }
