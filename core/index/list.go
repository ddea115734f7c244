package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/store"
)

// chunk bounds how many rows one read transaction copies. Rows are yielded outside
// of it: a slow reader must not block bbolt's writer.
const chunk = 200

// Repositories implements store.Names.
func (x *Index) Repositories(after string) iter.Seq2[string, error] {
	return pages(x, after, func(c *cursor, after string, add func(string) bool) {
		// One seek skips the digests of a repository: 1 is the byte after the
		// separator.
		next := func(repo string) []byte { return append([]byte(repo), 1) }
		seek := []byte(after)
		if after != "" {
			seek = next(after)
		}
		for k, _ := c.seek(seek); k != nil; {
			repo, _, _ := bytes.Cut(k, []byte{0})
			name := string(repo)
			if !add(name) {
				return
			}
			k, _ = c.seek(next(name))
		}
	}, manifestsBucket, func(s string) string { return s })
}

// Tags implements store.Names.
func (x *Index) Tags(repo, after string) iter.Seq2[store.Tag, error] {
	return pages(x, after, func(c *cursor, after string, add func(store.Tag) bool) {
		within(c, repo, after, func(tag string, value []byte) bool {
			return add(store.Tag{Name: tag, Digest: digest.Digest(value)})
		})
	}, tagsBucket, func(t store.Tag) string { return t.Name })
}

// Manifests implements store.Names.
func (x *Index) Manifests(repo string) iter.Seq2[digest.Digest, error] {
	return pages(x, "", func(c *cursor, after string, add func(digest.Digest) bool) {
		within(c, repo, after, func(d string, _ []byte) bool { return add(digest.Digest(d)) })
	}, manifestsBucket, func(d digest.Digest) string { return string(d) })
}

// HasRepository implements store.Names.
func (x *Index) HasRepository(repo string) (found bool, err error) {
	err = x.view(func(tx *bbolt.Tx) error {
		k, _ := rows(tx, manifestsBucket).seek(key(repo, ""))
		found = bytes.HasPrefix(k, key(repo, ""))
		return nil
	})
	return found, err
}

// rowsRead counts the rows that were read, of all indexes.
var rowsRead atomic.Uint64

// cursor walks over rows and trusts none of them: it panics, as bbolt does on an
// invalid page, at a row with a wrong checksum or out of order.
type cursor struct {
	*bbolt.Cursor
	last []byte // the current key
}

func rows(tx *bbolt.Tx, bucket []byte) *cursor { return &cursor{Cursor: tx.Bucket(bucket).Cursor()} }

func (c *cursor) seek(from []byte) (key, value []byte) {
	key, value = c.Seek(from)
	return c.check(key, value, bytes.Compare(key, from) >= 0)
}

func (c *cursor) next() (key, value []byte) {
	key, value = c.Next()
	return c.check(key, value, bytes.Compare(key, c.last) > 0)
}

func (c *cursor) check(key, value []byte, ordered bool) (_, _ []byte) {
	if key == nil {
		return nil, nil
	}
	if !ordered || len(value) < sumSize || binary.BigEndian.Uint32(value) != sum(key, value[sumSize:]) {
		panic(fmt.Sprintf("row %q", key))
	}
	c.last = key
	rowsRead.Add(1)
	return key, value[sumSize:]
}

// within calls each for the rows of repo after after.
func within(c *cursor, repo, after string, each func(rest string, value []byte) bool) {
	prefix := key(repo, "")
	for k, v := c.seek(key(repo, after)); bytes.HasPrefix(k, prefix); k, v = c.next() {
		rest := string(k[len(prefix):])
		if rest == after {
			continue
		}
		if !each(rest, v) {
			return
		}
	}
}

// pages turns a walk over a cursor into a sequence, a chunk at a time.
func pages[T any](x *Index, after string, walk func(*cursor, string, func(T) bool), bucket []byte, name func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			var page []T
			err := x.view(func(tx *bbolt.Tx) error {
				walk(rows(tx, bucket), after, func(row T) bool {
					page = append(page, row)
					return len(page) < chunk
				})
				return nil
			})
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, row := range page {
				if !yield(row, nil) {
					return
				}
			}
			if len(page) < chunk {
				return
			}
			after = name(page[len(page)-1])
		}
	}
}
