package dir

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// Commit implements bucket.Upload. Its bytes are durable after Sync(key); without
// Config.Verify, for a key too long for a name in pending/, or where they replace
// an object, they are when it returns.
func (u *upload) Commit(ctx context.Context, key, damaged string) (bucket.Info, error) {
	path, err := objectPath(key)
	if err != nil {
		return bucket.Info{}, err
	}
	b := u.b
	b.flush()
	select {
	case b.overlay.slots <- struct{}{}:
	case <-ctx.Done():
		return bucket.Info{}, ctx.Err()
	}
	handed := false
	defer func() {
		if !handed {
			<-b.overlay.slots
		}
	}()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return bucket.Info{}, u.missing()
	}
	info, err := u.describe(key)
	if err != nil {
		return bucket.Info{}, err
	}
	pending, lazy := pendingName(strings.TrimPrefix(path, objectsDir+"/"))
	lazy = lazy && b.storage.config.Verify != nil
	synced := false
	for {
		unlock := b.lockPath(path)
		held, err := b.stat(key, path)
		switch {
		case err != nil && !errors.Is(err, bucket.ErrNotExist):
			unlock()
			return bucket.Info{}, err
		case err == nil && held.Size == info.Size && held.Version != damaged:
			unlock()
			u.end(true)
			return held, nil
		}
		replaces := err == nil
		if (replaces || !lazy) && !synced { // not under the lock, which must not wait for a sync
			unlock()
			if err := b.storage.syncData(u.f); err != nil {
				u.end(true)
				return bucket.Info{}, syncError(key, err)
			}
			synced = true
			continue
		}
		defer unlock()
		switch {
		case replaces:
			err = u.replace(key, path)
		case lazy:
			err = u.showPending(key, path, pendingDir+"/"+pending, info)
			handed = err == nil
		default:
			err = u.create(path)
		}
		if err != nil {
			return bucket.Info{}, writeError("commit", key, err)
		}
		return info, nil
	}
}

// describe stamps the upload's file and describes the object that it becomes. u.mu
// is held. A file that is not as long as the appended bytes was changed by another process. Its
// digest was computed from the bytes as they came, so nothing else would detect this.
func (u *upload) describe(key string) (bucket.Info, error) {
	if err := u.b.folders.Chtimes(uploadsDir+"/"+u.id, u.b.storage.stamp()); err != nil {
		return bucket.Info{}, readError("commit upload", u.id, err)
	}
	fi, err := u.f.Stat()
	if err != nil {
		return bucket.Info{}, readError("commit upload", u.id, err)
	}
	if fi.Size() != u.size {
		u.end(true)
		return bucket.Info{}, fmt.Errorf("commit %s: upload %s has %d bytes on disk instead of %d and was dropped: %w",
			key, u.id, fi.Size(), u.size, bucket.ErrNotExist)
	}
	return describe(key, folders.StatusOf(fi)), nil
}

// create gives the upload's synced file the name of an object that does not exist.
// u.mu and the object's lock are held.
func (u *upload) create(path string) error {
	b, from := u.b, uploadsDir+"/"+u.id
	if err := b.change(path, ledger.Created, func() error { return b.folders.Link(from, path) }); err != nil {
		return err
	}
	u.end(true)
	return nil
}

// replace gives the upload's synced file the name of an object that exists. u.mu
// and the object's lock are held.
func (u *upload) replace(key, path string) error {
	b, from := u.b, uploadsDir+"/"+u.id
	b.supersede(key)
	kind := ledger.Created
	if _, err := b.folders.Lstat(path); err == nil {
		kind = ledger.Replaced
	}
	if err := b.change(path, kind, func() error { return b.folders.Rename(from, path) }); err != nil {
		return err
	}
	u.end(false)
	_ = u.f.Close() // it has been synced
	return nil
}

// showPending makes the upload's file a pending object, which is synced in the background.
// u.mu, the object's lock and a slot of the overlay are held; without an error the pending
// object takes over the slot.
func (u *upload) showPending(key, path, file string, info bucket.Info) error {
	b := u.b
	if err := b.folders.Rename(uploadsDir+"/"+u.id, file); err != nil {
		return err
	}
	b.ledger.Forgive(path)
	b.show(&pendingObject{key: key, path: path, file: file, info: info, f: u.f})
	u.end(false)
	return nil
}
