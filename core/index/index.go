// Package index is a projection of a store's bucket for what a file system answers
// slowly: tags and repositories in order, and what a repository holds.
//
// It is never truth. It may be deleted at any time; after an unclean stop it is
// thrown away and built again while the store is serving, and until Ready the
// store scans its bucket instead. Therefore it is bbolt without a single sync: a
// crash can corrupt the file, and the file of a crash is never opened.
package index

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Index holds (repository, manifest digest) and (repository, tag, digest). Its
// methods are safe for concurrent use. Errors are the disk's; the store answers
// from its bucket then.
type Index struct {
	db    *bbolt.DB
	path  string // where it lies between runs; empty: nowhere
	ready atomic.Bool
	// removed has the keys deleted while a rebuild runs: what the scan saw before
	// the delete must not come back. Guarded by bbolt's writer lock.
	removed map[string]struct{}
}

var (
	manifestsBucket = []byte("manifests") // repository 0 digest -> nothing
	tagsBucket      = []byte("tags")      // repository 0 tag -> digest
	formatBucket    = []byte("format 1")  // renamed when the layout changes: an old file has none
)

// openWait bounds how long another holder of the file is waited for; the
// storage's lock has excluded every other process by then.
const openWait = 5 * time.Second

// Open opens the index at path, or begins an empty one that is not Ready. While it
// is open its file is called path+".open", so that a crash leaves no file that
// looks whole. An empty path keeps the index in a temporary file.
func Open(path string) (*Index, error) {
	file, err := begin(path)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{
		Timeout: openWait, NoSync: true, NoGrowSync: true, NoFreelistSync: true,
		FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		os.Remove(file) // whatever it was, it is not an index
		return nil, fmt.Errorf("open index %s (it was removed, and is built again at the next start): %w", file, err)
	}
	x := &Index{db: db, path: path}
	err = db.Update(func(tx *bbolt.Tx) error {
		x.ready.Store(tx.Bucket(formatBucket) != nil)
		for _, name := range [][]byte{manifestsBucket, tagsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

// begin names the file to open: the one of the last clean stop, or a new one.
func begin(path string) (string, error) {
	if path == "" {
		f, err := os.CreateTemp("", "registry-index-*.db")
		if err != nil {
			return "", err
		}
		return f.Name(), f.Close()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	open := path + ".open"
	if err := os.Remove(open); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err // left by a crash, and not removable
	}
	if err := os.Rename(path, open); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return open, syncDir(filepath.Dir(path))
}

// syncDir makes the rename durable: a file that is in use must not be found under
// its resting name after a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Ready tells whether the index is whole. It becomes so by Rebuild.
func (x *Index) Ready() bool { return x.ready.Load() }

// Distrust makes the index not Ready, after a write that failed, until Rebuild.
func (x *Index) Distrust() { x.ready.Store(false) }

// Close ends the index; if it is Ready, the next Open finds it so.
func (x *Index) Close() error {
	file := x.db.Path()
	if x.path == "" || !x.Ready() {
		err := x.db.Close()
		return errors.Join(err, os.Remove(file))
	}
	if err := errors.Join(x.db.Sync(), x.db.Close()); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	if err := os.Rename(file, x.path); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return syncDir(filepath.Dir(x.path))
}

// PutManifest notes that repo holds the manifest d.
func (x *Index) PutManifest(repo string, d digest.Digest) error {
	return x.put(manifestsBucket, key(repo, string(d)), []byte{})
}

// PutTag notes that tag names d.
func (x *Index) PutTag(repo, tag string, d digest.Digest) error {
	return x.put(tagsBucket, key(repo, tag), []byte(d))
}

// DeleteManifest forgets that repo holds d.
func (x *Index) DeleteManifest(repo string, d digest.Digest) error {
	return x.remove(manifestsBucket, key(repo, string(d)))
}

// DeleteTag forgets a tag.
func (x *Index) DeleteTag(repo, tag string) error {
	return x.remove(tagsBucket, key(repo, tag))
}

func (x *Index) put(bucket, key, value []byte) error {
	return x.db.Update(func(tx *bbolt.Tx) error {
		delete(x.removed, mark(bucket, key))
		b := tx.Bucket(bucket)
		if old := b.Get(key); old != nil && bytes.Equal(old, value) {
			return nil
		}
		return b.Put(key, value)
	})
}

func (x *Index) remove(bucket, key []byte) error {
	return x.db.Update(func(tx *bbolt.Tx) error {
		if x.removed != nil {
			x.removed[mark(bucket, key)] = struct{}{}
		}
		return tx.Bucket(bucket).Delete(key)
	})
}

// key joins with NUL, which no name holds and which sorts before everything:
// so keys are in byte order of the repository, then of the rest.
func key(repo, rest string) []byte {
	k := make([]byte, 0, len(repo)+1+len(rest))
	return append(append(append(k, repo...), 0), rest...)
}

func mark(bucket, key []byte) string { return string(bucket) + string(key) }
