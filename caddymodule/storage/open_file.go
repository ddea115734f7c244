package storage

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

const (
	indexDir = "index"
	// cacheTag marks a directory as one that backups leave out
	// (https://bford.info/cachedir).
	cacheTag     = "CACHEDIR.TAG"
	cacheTagText = "Signature: 8a477f597d28d172789f06886806bc55\n" +
		"# What caddy-registry has fetched from other registries. It may be deleted while the\n" +
		"# server is stopped.\n"
)

// openFile is an open FileStorage: a directory, and one for the mirrors. The second
// is a whole storage with its own lock and its own slots for syncs, wherever it lies:
// it can be moved or deleted by itself, and private images do not wait for it.
type openFile struct{ main, mirrors *dir.Storage }

// of is the directory that a tree is in.
func (s *openFile) of(tree string) *dir.Storage {
	if tree == MirrorsTree {
		return s.mirrors
	}
	return s.main
}

func (s *openFile) Bucket(tree string) (bucket.Bucket, error) {
	if tree == MirrorsTree {
		return s.mirrors.Bucket(contentTree)
	}
	return s.main.Bucket(tree)
}

// contentTree is the bucket within the mirrors' directory.
const contentTree = "content"

func (s *openFile) Index(tree string) string {
	return filepath.Join(s.of(tree).Path(), indexDir, tree+".db")
}

func (s *openFile) Local() string { return s.main.Path() }

func (s *openFile) Disk(tree string) string { return s.of(tree).Path() }

func (s *openFile) Syncs() (files, directories, groups uint64) {
	main, mirrors := s.main.Stats(), s.mirrors.Stats()
	return main.DataSyncs + mirrors.DataSyncs, main.DirSyncs + mirrors.DirSyncs, main.Groups + mirrors.Groups
}

func (s *openFile) Close() error { return errors.Join(s.mirrors.Close(), s.main.Close()) }

// markCache tells backups to leave a directory out.
func markCache(path string) error {
	path = filepath.Join(path, cacheTag)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(cacheTagText), 0o644)
}

var (
	_ Buckets   = (*openFile)(nil)
	_ LocalDir  = (*openFile)(nil)
	_ DiskSpace = (*openFile)(nil)
	_ Syncs     = (*openFile)(nil)
)
