package layout

import (
	"fmt"
	"io"
	"os"
	"path"
)

// Empty is a directory that is to become a layout.
type Empty struct{ root *os.Root }

// Create makes a directory, or takes one that is empty. The caller closes it. Errors: a directory
// that is not empty.
func Create(dir string) (*Empty, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Empty{root}, nil
}

// Close closes the directory.
func (e *Empty) Close() error { return e.root.Close() }

// write writes a file of a layout. Errors also: content that does not have the digest in its name.
func (e *Empty) write(name string, content io.Reader) error {
	return checked(name, content, func(content io.Reader) error {
		if err := e.root.MkdirAll(path.Dir(name), 0o777); err != nil {
			return err
		}
		f, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, content); err != nil {
			return err
		}
		return f.Close()
	})
}
