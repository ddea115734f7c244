package index

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Entry is one row found by a scan: a tag if Tag is set, else a manifest. A tag without
// a digest is there, but what it names could not be read.
type Entry struct {
	Repo   string
	Tag    string
	Digest digest.Digest
}

// rebuildBatch bounds the rows of one write transaction: the pushes that happen
// meanwhile wait for one batch at most (some milliseconds).
const rebuildBatch = 2000

// Rebuild fills the index from scan, a walk over the whole bucket, and makes it
// Ready. Puts and deletes may happen at the same time: they win over what the scan
// saw. It returns the scan's error, or the context's, and stays not Ready.
func (x *Index) Rebuild(ctx context.Context, scan iter.Seq2[Entry, error]) error {
	if err := x.db.Update(x.clear); err != nil {
		return err
	}
	batch := make([]Entry, 0, rebuildBatch)
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
	return x.db.Update(func(tx *bbolt.Tx) error {
		x.removed = nil
		_, err := tx.CreateBucketIfNotExists(formatBucket)
		if err == nil {
			// Within the writer's lock, so that no delete falls between.
			x.ready.Store(true)
		}
		return err
	})
}

// clear begins a rebuild: nothing that is there is believed.
func (x *Index) clear(tx *bbolt.Tx) error {
	x.ready.Store(false)
	x.removed = map[string]struct{}{}
	for _, name := range [][]byte{manifestsBucket, tagsBucket} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) add(batch []Entry) error {
	return x.db.Update(func(tx *bbolt.Tx) error {
		for _, e := range batch {
			bucket, k, value := manifestsBucket, key(e.Repo, string(e.Digest)), []byte{}
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
			if err := b.Put(k, value); err != nil {
				return err
			}
		}
		return nil
	})
}
