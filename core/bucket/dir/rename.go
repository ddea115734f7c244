package dir

import (
	"context"
	"fmt"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// Rename implements bucket.Rename. It waits for an upload that is being made durable
// under key.
func (b *Bucket) Rename(ctx context.Context, key, version, to string) error {
	from, err := objectPath(key)
	if err != nil {
		return err
	}
	path, err := objectPath(to)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.flush()
	for range maxTries {
		pending, err := b.renameNow(key, from, version, to, path)
		if pending == nil {
			return err
		}
		select {
		case <-pending.done:
		case <-ctx.Done():
			return fmt.Errorf("rename %s: %w", key, ctx.Err())
		}
	}
	return fmt.Errorf("rename %s: %w", key, bucket.ErrChanged)
}

// renameNow is Rename, unless the object is still pending: then it is returned.
func (b *Bucket) renameNow(key, from, version, to, path string) (*pendingObject, error) {
	defer b.lockPaths(from, path)()
	if err := b.check(key, from, bucket.Condition{IfMatch: version}); err != nil {
		return nil, err
	}
	if p := b.overlay.get(key); p != nil {
		return p, nil
	}
	s, err := b.folders.Lstat(from)
	if err != nil {
		return nil, readError("rename", key, err)
	}
	if s.Names == 1 { // otherwise objects, or files outside, that share the file would change with it
		// Before the rename: if the process is killed between the two, the object is still at
		// its old key, as another version.
		if err := b.folders.Chtimes(from, b.storage.stamp()); err != nil {
			return nil, readError("rename", key, err)
		}
	}
	b.supersede(to)
	kind := ledger.Created
	if _, err := b.folders.Lstat(path); err == nil {
		kind = ledger.Replaced
	}
	err = b.unlink(from, func(string) error {
		return b.change(path, kind, func() error { return b.folders.Rename(from, path) })
	})
	if err != nil {
		return nil, writeError("rename", key, err)
	}
	b.removeEmpty(from)
	return nil, nil
}
