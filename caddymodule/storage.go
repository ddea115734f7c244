package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/store"
)

func init() {
	caddy.RegisterModule(FileStorage{})
}

// Storage is where a registry keeps its content: a guest module, oci.storage.*. If it
// also has a method Local() string, which tells OpenStorage.Local before it is open,
// commands find the running process by it.
type Storage interface {
	// Key names the storage within the process. Configurations whose storages have
	// the same key share one open storage, opened as the first of them says. It is
	// asked after Provision, and does not change.
	Key() string
	// Open opens the storage for this process alone. Errors are sentences for an
	// operator.
	Open(ctx context.Context, log *slog.Logger) (OpenStorage, error)
}

// OpenStorage is a storage in use. Close ends it, after everything in it.
type OpenStorage interface {
	// Bucket opens one of the storage's trees, which close with it.
	Bucket(tree string) (bucket.Bucket, error)
	// Local is a directory of this storage's own on a local disk, for what may be
	// lost: indexes, and the control socket.
	Local() string
	// Syncs counts the barriers since Open, of files and of directories.
	Syncs() (files, directories uint64)
	Close() error
}

// defaultPath is where a registry keeps its content that was not told where.
const defaultPath = "./data"

// FileStorage keeps the content in a directory of the local disk. It belongs to one
// process: a second one is refused. Copying the directory while the server is
// stopped copies the registry.
type FileStorage struct {
	// Path is the directory; it is created at the start if it is missing. A
	// relative path counts from the working directory, which services often have
	// at /: then it is refused. Default: ./data.
	Path string `json:"path,omitempty"`

	absolute string
}

// CaddyModule returns the Caddy module information.
func (FileStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.storage.file",
		New: func() caddy.Module { return new(FileStorage) },
	}
}

// Provision finds out which directory is meant. It looks at the disk, because two
// paths may be one directory, and changes nothing there.
func (s *FileStorage) Provision(caddy.Context) (err error) {
	if s.Path == "" {
		s.Path = defaultPath
	}
	if !filepath.IsAbs(s.Path) {
		if cwd, err := os.Getwd(); err != nil || cwd == string(filepath.Separator) {
			return fmt.Errorf("path %s is relative and the working directory is /; write the whole path, such as /var/lib/registry", s.Path)
		}
	}
	s.absolute, err = canonicalPath(s.Path)
	return err
}

// canonicalPath is the absolute path without symbolic links, also of a directory
// that does not exist yet.
func canonicalPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		return resolved, nil
	}
	parent := filepath.Dir(path)
	if !errors.Is(err, os.ErrNotExist) || parent == path {
		return "", err
	}
	parent, err = canonicalPath(parent)
	return filepath.Join(parent, filepath.Base(path)), err
}

// Key is the canonical path.
func (s *FileStorage) Key() string { return "file:" + s.absolute }

// Local is the directory itself.
func (s *FileStorage) Local() string { return s.absolute }

// Open locks the directory, and creates it if it is missing.
func (s *FileStorage) Open(_ context.Context, log *slog.Logger) (OpenStorage, error) {
	opened, err := dir.Open(s.absolute, dir.Options{Verify: store.Verify, Log: log})
	if err != nil {
		return nil, err
	}
	return &fileStorage{opened}, nil
}

// UnmarshalCaddyfile reads the rest of the line. Syntax:
//
//	storage file [<path>]
func (s *FileStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unknown option %q of storage file", d.Val())
	}
	return nil
}

// fileStorage is an open directory.
type fileStorage struct{ *dir.Storage }

func (s *fileStorage) Bucket(tree string) (bucket.Bucket, error) { return s.Storage.Bucket(tree) }

func (s *fileStorage) Local() string { return s.Path() }

func (s *fileStorage) Syncs() (files, directories uint64) {
	stats := s.Stats()
	return stats.DataSyncs, stats.DirSyncs
}

var (
	_ Storage               = (*FileStorage)(nil)
	_ OpenStorage           = (*fileStorage)(nil)
	_ caddy.Provisioner     = (*FileStorage)(nil)
	_ caddyfile.Unmarshaler = (*FileStorage)(nil)
)
