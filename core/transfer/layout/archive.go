package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxFiles bounds the files of an archive, of which the names and headers are held in
	// memory: some 40 MiB.
	maxFiles = 50_000
	// maxName bounds such a name, in bytes: that of a sha512 blob has 141.
	maxName = 200
)

// archive is one layout in a tar file, in which its files are read where they are. It implements
// files.
type archive struct {
	file  *os.File
	files map[string]part
}

// part is where the content of a file begins in an archive.
type part struct {
	fs.FileInfo
	at int64
}

// openArchive finds the files of a layout in an archive. Only regular files are looked at; the last
// of several with one name counts, as for tar. Errors: those of the file, of a file that is not a
// tar archive, and of too many files.
func openArchive(name string) (*archive, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo would block
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = expect(name, fi, 0)
	}
	a := &archive{f, map[string]part{}}
	if err == nil {
		err = a.list()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// list fills a.files.
func (a *archive) list() error {
	from := tar.NewReader(a.file)
	for {
		header, err := from.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, tar.ErrHeader):
			return fmt.Errorf("%s: not a tar archive, or a compressed one; uncompress it first", a.file.Name())
		case err != nil:
			return fmt.Errorf("%s: %w", a.file.Name(), err)
		}
		name := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || len(name) > maxName || !belongs(name) {
			continue
		}
		// tar.Reader reads no further than the header, and skips content by seeking.
		at, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if a.files[name] = (part{header.FileInfo(), at}); len(a.files) > maxFiles {
			return fmt.Errorf("%s: more than %d files; unpack it, and import the directory", a.file.Name(), maxFiles)
		}
	}
}

// belongs reports whether a layout may have a file of this name.
func belongs(name string) bool {
	return name == ocispec.ImageLayoutFile || name == ocispec.ImageIndexFile || strings.HasPrefix(name, ocispec.ImageBlobsDir+"/")
}

// Close closes the archive.
func (a *archive) Close() error { return a.file.Close() }

// Lstat implements files.
func (a *archive) Lstat(name string) (fs.FileInfo, error) {
	found, ok := a.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return found, nil
}

// content implements files.
func (a *archive) content(name string) (io.ReadCloser, int64, error) {
	found, ok := a.files[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(a.file, found.at, found.Size())), found.Size(), nil
}
