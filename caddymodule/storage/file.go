package storage

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
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/store"
)

func init() {
	caddy.RegisterModule(File{})
}

// defaultPath is where a registry keeps its content that was not told where.
const defaultPath = "./data"

// File keeps the content in a directory of the local disk. It belongs to one
// process: a second one is refused. Copying the directory while the server is
// stopped copies the registry.
//
// What mirrors hold is in a directory of its own. It is marked as a cache, so that
// backups leave it out, and may be deleted while the server is stopped.
type File struct {
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
func (File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.storage.file",
		New: func() caddy.Module { return new(File) },
	}
}

// Provision finds out which directories are meant. It looks at the disk, because two
// paths may be one directory, and changes nothing there.
func (s *File) Provision(caddy.Context) (err error) {
	if s.Path == "" {
		s.Path = defaultPath
	}
	if s.absolute, err = servicePath("path", s.Path); err != nil {
		return err
	}
	if s.Mirrors == "" {
		s.mirrors = filepath.Join(s.absolute, MirrorsTree)
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
	case ".", PrivateTree, IdentityTree, indexDir, historyDir:
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
func (s *File) Key() string { return "file:" + s.absolute }

// Local is the directory itself.
func (s *File) Local() string { return s.absolute }

// Agrees returns why an open storage of the same directory cannot be used as this one.
func (s *File) Agrees(open Module) error {
	if other, ok := open.(*File); ok && other.mirrors != s.mirrors {
		return fmt.Errorf("mirrors %s: the running registry keeps mirrors in %s, and moves only when it is stopped and started", s.mirrors, other.mirrors)
	}
	return nil
}

// Risks returns what a power cut can do to the storage that should not happen. What mirrors
// keep can be had again.
func (s *File) Risks() []string { return dir.Risks(s.absolute) }

// Open locks the directories, and creates them if they are missing.
func (s *File) Open(_ context.Context, log *slog.Logger) (Buckets, error) {
	main, err := dir.Open(s.absolute, dir.Config{Verify: store.Verify, Log: log})
	if err != nil {
		return nil, err
	}
	mirrors, err := dir.Open(s.mirrors, dir.Config{Verify: store.Verify, Log: log})
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
	return &openFile{main, mirrors}, nil
}

// UnmarshalCaddyfile reads the rest of the line. Syntax:
//
//	storage file [<path>] {
//	    mirrors <path>
//	}
func (s *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	return option.Block(d, "storage file", option.Options{"mirrors": option.Once(&s.Mirrors)})
}

var (
	_ Module                = (*File)(nil)
	_ Located               = (*File)(nil)
	_ Strict                = (*File)(nil)
	_ Risky                 = (*File)(nil)
	_ caddy.Provisioner     = (*File)(nil)
	_ caddyfile.Unmarshaler = (*File)(nil)
)
