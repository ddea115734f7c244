// Package index keeps the store.Names of a store in a file. They are a projection of its bucket
// for queries that a file system answers slowly: tags and repositories in order, and the content
// of a repository.
//
// The bucket remains authoritative. The index may be deleted at any time. After an unclean stop
// it is discarded and rebuilt while the store is serving, and until Ready the store scans its
// bucket instead. Therefore bbolt never syncs: a crash can corrupt the file, and the file of a
// crash is never opened, nor is one that was changed between two runs. If it is damaged while it
// is open, the store works without it.
package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/store"
)

// Index holds (repository, manifest digest) and (repository, tag, digest). After store.ErrDamaged
// its file is not used again until Rebuild has begun a new one.
type Index struct {
	path    string      // its path between runs; empty: none
	file    string      // its path while it is open
	damaged func(error) // called with damage
	ready   atomic.Bool
	behind  queue

	mu   sync.Mutex // guards all below, and everything that bbolt does
	db   *bbolt.DB  // nil: damaged
	stat os.FileInfo
	rows map[string]uint64 // their number, by bucket
	// distrusted reports whether Distrust was called since the last rebuild began.
	distrusted bool
	// whole: the catalog's rows have everything. epoch counts the files that were begun.
	whole bool
	epoch int
	// gone has what ended while a scan for the catalog runs, like removed.
	gone map[string]struct{}
	// removed has the keys deleted while a rebuild runs: rows that the scan saw
	// before the delete must not come back.
	removed map[string]struct{}
}

var _ store.Names = (*Index)(nil)

// A value begins with a checksum of the row: bbolt has none.
var (
	manifestsBucket = []byte("manifests") // repository 0 digest -> nothing
	tagsBucket      = []byte("tags")      // repository 0 tag -> digest
	formatBucket    = []byte("format 5")  // renamed when the layout changes: an old file has none
	rowsPrefix      = "rows of "          // in formatBucket, with the name of a bucket: how many rows it has
	wholeKey        = []byte("whole")     // in formatBucket: the catalog's rows have everything
)

// buckets are all that have rows.
var buckets = append([][]byte{manifestsBucket, tagsBucket}, catalogBuckets...)

// Open opens the index at path, or begins an empty one that is not Ready. While it is open its
// file is named path+".open", so that a crash leaves no file that looks intact. An empty path
// keeps the index in a temporary file. damaged is called for each damage that is found, now or
// later, and must not call the index.
func Open(path string, damaged func(error)) (*Index, error) {
	x := &Index{path: path, damaged: damaged}
	x.behind.init(x.flush)
	whole := false
	if path != "" {
		var err error
		x.file = path + ".open"
		whole, err = x.take()
		if errors.Is(err, store.ErrDamaged) {
			damaged(err)
		} else if err != nil {
			return nil, fmt.Errorf("open index: %w", err)
		}
	}
	if whole {
		err := x.load()
		if err == nil {
			return x, nil
		}
		damaged(err)
	}
	if err := x.renew(); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

// ForStore opens the index at path, as Open does, and logs damage. If path cannot be used the
// index is kept in a temporary file, and is not Ready at each start: without a place for it,
// lists are still served. Errors are those of temporary files.
func ForStore(path string, log *slog.Logger) (*Index, error) {
	damaged := func(err error) {
		log.Error("index is damaged and not used; lists scan the storage until it is rebuilt, by the next collection or start",
			"path", path, "error", err)
	}
	x, err := Open(path, damaged)
	if err != nil && path != "" {
		log.Warn("index cannot be kept; a temporary one is built at each start", "path", path, "error", err)
		x, err = Open("", damaged)
	}
	return x, err
}

// Ready reports whether the index is complete. Rebuild makes it so.
func (x *Index) Ready() bool { return x.ready.Load() }

// Distrust makes the index not Ready, after a write that failed, until Rebuild.
func (x *Index) Distrust() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.distrusted = true
	x.ready.Store(false)
}

// Close closes the index. If it is Ready, it is Ready after the next Open, too.
func (x *Index) Close() error {
	x.flush()
	x.mu.Lock()
	defer x.mu.Unlock()
	now, err := os.Lstat(x.file)
	ours := err == nil && os.SameFile(now, x.stat) // it was not removed or replaced
	keep := ours && x.path != "" && x.Ready()
	err = nil
	switch {
	case keep:
		err = survive(x.finish)
	case x.db != nil:
		err = survive(x.db.Close)
	}
	if errors.Is(err, store.ErrDamaged) {
		x.damaged(err)
		keep, err = false, nil
	}
	if !keep || err != nil {
		os.Remove(x.file)
		return err
	}
	if err := seal(x.file); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	if err := os.Rename(x.file, x.path); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return syncDir(filepath.Dir(x.path))
}

// PutManifest implements store.Names.
func (x *Index) PutManifest(repo string, d digest.Digest) error {
	return x.put(manifestsBucket, key(repo, string(d)), nil)
}

// PutTag implements store.Names.
func (x *Index) PutTag(repo, tag string, d digest.Digest) error {
	return x.put(tagsBucket, key(repo, tag), []byte(d))
}

// DeleteManifest implements store.Names.
func (x *Index) DeleteManifest(repo string, d digest.Digest) error {
	return x.remove(manifestsBucket, key(repo, string(d)))
}

// DeleteTag implements store.Names.
func (x *Index) DeleteTag(repo, tag string) error {
	return x.remove(tagsBucket, key(repo, tag))
}

// countRow counts a row that was put or deleted, once the transaction is committed.
func (x *Index) countRow(tx *bbolt.Tx, bucket []byte, change int) {
	name := string(bucket)
	tx.OnCommit(func() { x.rows[name] += uint64(change) })
}

func (x *Index) put(bucket, key, value []byte) error {
	value = row(key, value)
	return x.update(func(tx *bbolt.Tx) error {
		delete(x.removed, mark(bucket, key))
		b := tx.Bucket(bucket)
		old := b.Get(key)
		if old != nil && bytes.Equal(old, value) {
			return nil
		}
		if old == nil {
			x.countRow(tx, bucket, 1)
		}
		return b.Put(key, value)
	})
}

func (x *Index) remove(bucket, key []byte) error {
	return x.update(func(tx *bbolt.Tx) error {
		if x.removed != nil {
			x.removed[mark(bucket, key)] = struct{}{}
		}
		b := tx.Bucket(bucket)
		if b.Get(key) != nil {
			x.countRow(tx, bucket, -1)
		}
		return b.Delete(key)
	})
}

// key joins with NUL, which no name contains and which sorts before everything, so
// that keys are in byte order of the repository, then of the rest.
func key(repo, rest string) []byte {
	k := make([]byte, 0, len(repo)+1+len(rest))
	return append(append(append(k, repo...), 0), rest...)
}

// row returns the stored form of a value: its checksum, then the value.
func row(key, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, sum(key, value)), value...)
}

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func mark(bucket, key []byte) string { return string(bucket) + string(key) }
