package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/store"
)

func init() {
	caddy.RegisterModule(FileStorage{})
}

// Storage is where a registry keeps its content: a guest module, oci.storage.*. If it
// also has a method Local() string, which tells OpenStorage.Local before it is open,
// commands find the running process by it. If it has a method Agrees(Storage) error,
// it is asked whether it can be served by an open one of the same key. If it has a method
// Risks() []string, `registry doctor` tells these sentences, too.
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
	// Index is a file on a local disk for the index of a tree. It may be lost, and
	// is lost with its tree.
	Index(tree string) string
	// Local is a directory of this storage's own on a local disk, for what may be
	// lost, such as the control socket.
	Local() string
	// MirrorsDir is the directory whose disk the tree of the mirrors fills, or
	// empty if it is on no local disk.
	MirrorsDir() string
	// Syncs counts the files and the directories that were made durable since Open,
	// and how often many of these were one sync (a group).
	Syncs() (files, directories, groups uint64)
	Close() error
}

// defaultPath is where a registry keeps its content that was not told where.
const defaultPath = "./data"

// FileStorage keeps the content in a directory of the local disk. It belongs to one
// process: a second one is refused. Copying the directory while the server is
// stopped copies the registry.
//
// What mirrors hold is in a directory of its own. It is marked as a cache, so that
// backups leave it out, and may be deleted while the server is stopped.
type FileStorage struct {
	// Path is the directory; it is created at the start if it is missing. A
	// relative path counts from the working directory, which services often have
	// at /: then it is refused. Default: ./data.
	Path string `json:"path,omitempty"`

	// Mirrors is the directory for what mirrors hold; it may be on another disk.
	// While a registry runs it cannot be changed by a reload. Default: mirrors,
	// within the path.
	Mirrors string `json:"mirrors,omitempty"`

	absolute, mirrors string
}

// CaddyModule returns the Caddy module information.
func (FileStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.storage.file",
		New: func() caddy.Module { return new(FileStorage) },
	}
}

// Provision finds out which directories are meant. It looks at the disk, because two
// paths may be one directory, and changes nothing there.
func (s *FileStorage) Provision(caddy.Context) (err error) {
	if s.Path == "" {
		s.Path = defaultPath
	}
	if s.absolute, err = servicePath("path", s.Path); err != nil {
		return err
	}
	if s.Mirrors == "" {
		s.mirrors = filepath.Join(s.absolute, mirrorsTree)
		return nil
	}
	if s.mirrors, err = servicePath("mirrors", s.Mirrors); err != nil {
		return err
	}
	within, err := filepath.Rel(s.absolute, s.mirrors)
	if err != nil {
		return err
	}
	switch first, _, _ := strings.Cut(filepath.ToSlash(within), "/"); first {
	case ".", privateTree, identityTree, indexDir:
		return fmt.Errorf("mirrors %s is where %s keeps its own content; choose a directory of its own", s.Mirrors, s.Path)
	}
	return nil
}

// servicePath is the canonical form of a path that an option names.
func servicePath(option, path string) (string, error) {
	if !filepath.IsAbs(path) {
		if cwd, err := os.Getwd(); err != nil || cwd == string(filepath.Separator) {
			return "", fmt.Errorf("%s %s is relative and the working directory is /; write the whole path, such as /var/lib/registry", option, path)
		}
	}
	return canonicalPath(path)
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

// Agrees tells why an open storage of the same directory cannot be used as this one.
func (s *FileStorage) Agrees(open Storage) error {
	if other, ok := open.(*FileStorage); ok && other.mirrors != s.mirrors {
		return fmt.Errorf("mirrors %s: the running registry keeps mirrors in %s, and moves only when it is stopped and started", s.mirrors, other.mirrors)
	}
	return nil
}

// Risks are what a power cut can do to the storage that should not happen. What mirrors
// keep can be had again.
func (s *FileStorage) Risks() []string { return dir.Risks(s.absolute) }

// Open locks the directories, and creates them if they are missing.
func (s *FileStorage) Open(_ context.Context, log *slog.Logger) (OpenStorage, error) {
	main, err := dir.Open(s.absolute, dir.Options{Verify: store.Verify, Log: log})
	if err != nil {
		return nil, err
	}
	mirrors, err := dir.Open(s.mirrors, dir.Options{Verify: store.Verify, Log: log})
	if err != nil {
		return nil, errors.Join(err, main.Close())
	}
	if err := markCache(s.mirrors); err != nil {
		return nil, errors.Join(fmt.Errorf("mark %s as a cache: %w", s.mirrors, err), mirrors.Close(), main.Close())
	}
	// A warning only: tests and those who can push again do well without a journal.
	for _, risk := range s.Risks() {
		log.Warn(risk, "storage", s.absolute)
	}
	return &fileStorage{main, mirrors}, nil
}

// UnmarshalCaddyfile reads the rest of the line. Syntax:
//
//	storage file [<path>] {
//	    mirrors <path>
//	}
func (s *FileStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	return option.Block(d, "storage file", option.Options{"mirrors": option.Once(&s.Mirrors)})
}

var (
	_ Storage               = (*FileStorage)(nil)
	_ caddy.Provisioner     = (*FileStorage)(nil)
	_ caddyfile.Unmarshaler = (*FileStorage)(nil)
)
