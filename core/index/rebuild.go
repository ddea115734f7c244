package index

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/store"
)

// rebuildBatch bounds the rows of one write transaction: the pushes that happen
// meanwhile wait for one batch at most (some milliseconds).
const rebuildBatch = 2000

// errDistrusted ends a rebuild during which a write failed.
var errDistrusted = errors.New("a write to the index failed while it was rebuilt")

// Rebuild implements store.Names. It begins a new file.
func (x *Index) Rebuild(ctx context.Context, scan iter.Seq2[store.NameRow, error]) error {
	if err := x.begin(); err != nil {
		return err
	}
	batch := make([]store.NameRow, 0, rebuildBatch)
	for entry, err := range scan {
		if err != nil {
			return err
		}
		if batch = append(batch, entry); len(batch) < rebuildBatch {
			continue
		}
		if err := x.add(batch); err != nil {
			return err
		}
		batch = batch[:0]
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := x.add(batch); err != nil {
		return err
	}
	return x.use(func(db *bbolt.DB) error {
		if x.distrusted {
			return errDistrusted
		}
		err := db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(formatBucket)
			return err
		})
		if err == nil {
			x.removed = nil
			x.ready.Store(true)
		}
		return err
	})
}

// begin begins a rebuild in a new file: existing rows are not trusted.
func (x *Index) begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.renew(); err != nil {
		return fmt.Errorf("begin index: %w", err)
	}
	x.removed, x.distrusted = map[string]struct{}{}, false
	return nil
}

func (x *Index) add(batch []store.NameRow) error {
	return x.update(func(tx *bbolt.Tx) error {
		for _, e := range batch {
			bucket, k, value := manifestsBucket, key(e.Repo, string(e.Digest)), []byte(nil)
			if e.Tag != "" {
				bucket, k, value = tagsBucket, key(e.Repo, e.Tag), []byte(e.Digest)
			}
			if _, gone := x.removed[mark(bucket, k)]; gone {
				continue
			}
			b := tx.Bucket(bucket)
			if b.Get(k) != nil {
				continue // written since the scan began: newer than what the scan saw
			}
			if err := b.Put(k, row(k, value)); err != nil {
				return err
			}
			x.countRow(tx, bucket, 1)
		}
		return nil
	})
}
