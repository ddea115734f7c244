package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// maxTries bounds how often a writer makes a directory again that a delete removed
// because it was empty.
const maxTries = 64

// Put implements bucket.Bucket. It returns after one sync, that of the bytes: only then does
// the object get its name. Additional error: ErrSync when that sync failed.
func (b *Bucket) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	path, err := objectPath(key)
	if err != nil {
		return bucket.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return bucket.Info{}, err
	}
	b.flush()
	// Checked again under the lock; here it avoids the sync of a write that would be refused.
	if err := b.check(key, path, cond); err != nil {
		return bucket.Info{}, err
	}
	if cond.IfAbsent && (cond.Alike || len(data) == 0) && len(data) <= alikeBytes {
		if info, done, err := b.putAlike(key, path, data); done {
			return info, err
		}
	}
	tmp := tmpDir + "/" + strconv.FormatUint(b.names.Add(1), 36)
	info, err := b.writeTmp(tmp, key, data)
	if err != nil {
		b.folders.Remove(tmp)
		return bucket.Info{}, err
	}
	defer b.lockPath(path)()
	if err := b.check(key, path, cond); err != nil {
		b.folders.Remove(tmp)
		return bucket.Info{}, err
	}
	if cond.IfAbsent {
		err = b.change(path, ledger.Created, func() error { return b.folders.Link(tmp, path) })
		b.folders.Remove(tmp)
	} else {
		b.supersede(key)
		kind := ledger.Created
		if _, err := b.folders.Lstat(path); err == nil {
			kind = ledger.Replaced
		}
		if err = b.change(path, kind, func() error { return b.folders.Rename(tmp, path) }); err != nil {
			b.folders.Remove(tmp)
		}
	}
	if err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	return info, nil
}

// writeTmp writes and syncs the file tmp, which is in tmp/.
func (b *Bucket) writeTmp(tmp, key string, data []byte) (bucket.Info, error) {
	f, err := b.folders.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	if err := b.folders.Chtimes(tmp, b.storage.stamp()); err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	if len(data) > 0 {
		if err := b.storage.syncData(f); err != nil {
			return bucket.Info{}, syncError(key, err)
		}
	}
	fi, err := f.Stat()
	if err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	return describe(key, folders.StatusOf(fi)), nil
}

// Delete implements bucket.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.delete(ctx, key, bucket.Condition{})
}

// DeleteIfMatch implements bucket.DeleteIfMatch.
func (b *Bucket) DeleteIfMatch(ctx context.Context, key, version string) error {
	return b.delete(ctx, key, bucket.Condition{IfMatch: version})
}

// delete is Delete under a condition that is empty or IfMatch.
func (b *Bucket) delete(ctx context.Context, key string, cond bucket.Condition) error {
	path, err := objectPath(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.flush()
	defer b.lockPath(path)()
	if err := b.check(key, path, cond); err != nil {
		return err
	}
	pending := b.supersede(key)
	if s, err := b.folders.Lstat(path); absent(err) && pending {
		return nil
	} else if err != nil || !s.Regular {
		if absent(err) {
			b.ledger.Forgive(path)
		}
		return readError("delete", key, err)
	}
	if err := b.remove(path); err != nil {
		return readError("delete", key, err)
	}
	b.removeEmpty(path)
	return nil
}

// check decides a condition. It is final only under the object's lock.
func (b *Bucket) check(key, path string, cond bucket.Condition) error {
	if !cond.IfAbsent && cond.IfMatch == "" {
		return nil
	}
	info, err := b.stat(key, path)
	switch {
	case err != nil && !errors.Is(err, bucket.ErrNotExist):
		return err
	case cond.IfAbsent && err == nil:
		return writeError("put", key, fs.ErrExist)
	case cond.IfMatch != "" && (err != nil || info.Version != cond.IfMatch):
		return fmt.Errorf("match %s: %w", key, bucket.ErrChanged)
	}
	return nil
}

// change changes the entry at path, records it in the ledger, and makes the directories that it
// needs.
func (b *Bucket) change(path string, kind ledger.Kind, do func() error) error {
	b.ledger.Begin(path)
	err := do()
	for range maxTries {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err = b.makeDir(filepath.Dir(path)); err == nil {
			err = do()
		}
	}
	if err != nil {
		kind = ledger.Unchanged
	}
	b.ledger.End(path, kind)
	return err
}

// makeDir makes a directory and those above it.
func (b *Bucket) makeDir(dir string) error {
	b.ledger.Begin(dir)
	err := b.folders.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = b.makeDir(filepath.Dir(dir)); err == nil {
			err = b.folders.Mkdir(dir)
		}
	}
	if err != nil {
		b.ledger.End(dir, ledger.Unchanged)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	b.ledger.End(dir, ledger.MadeDir)
	return nil
}

// remove unlinks the file at path.
func (b *Bucket) remove(path string) error { return b.unlink(path, b.folders.Remove) }

// unlink removes the entry at path and records it in the ledger.
func (b *Bucket) unlink(path string, do func(path string) error) error {
	b.ledger.Begin(path)
	if err := do(path); err != nil {
		b.ledger.End(path, ledger.Unchanged)
		return err
	}
	b.ledger.End(path, ledger.Removed)
	return nil
}

// removeEmpty removes the directories above path that are empty now, so that listings stay
// short. A concurrent writer makes them again.
func (b *Bucket) removeEmpty(path string) {
	for dir := filepath.Dir(path); dir != objectsDir; dir = filepath.Dir(dir) {
		if !b.removeDir(dir) {
			return
		}
	}
}

// removeDir removes a directory if it is empty, and reports whether it did.
func (b *Bucket) removeDir(dir string) bool {
	return b.unlink(dir, b.folders.RemoveDir) == nil
}

// exists reports whether there is a file at path.
func (b *Bucket) exists(path string) bool {
	s, err := b.folders.Lstat(path)
	return err == nil && s.Regular
}

// writeError adds the key and translates the kernel's errors into the bucket's.
func writeError(verb, key string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s %s: %w", verb, key, bucket.ErrExist)
	}
	return fmt.Errorf("%s %s: %w", verb, key, noSpace(err))
}
