package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// adoption is a file in tmp/ that shares its content with a file of somebody else. It is another
// name of that file, unless it was cloned. The next start removes the name if Close did not.
type adoption struct {
	b      *Bucket
	file   string // in tmp/
	s      folders.Status
	cloned bool
	synced bool  // the clone was
	failed error // its sync, which is not tried again
}

var _ bucket.Adoption = (*adoption)(nil)

// Adopt implements bucket.Adopt. It refuses files of at most alikeBytes, which are copied in no time:
// so an object with several names is either small, and alike others, or adopted. It also refuses files
// from the future: the collector would take them for new ones for ever.
func (b *Bucket) Adopt(ctx context.Context, f *os.File) (bucket.Adoption, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular(), fi.Size() <= alikeBytes, fi.ModTime().After(time.Now()), b.noAdopt.Load():
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), errors.ErrUnsupported)
	}
	a := &adoption{b: b, file: tmpDir + "/" + strconv.FormatUint(b.names.Add(1), 36)}
	if a.cloned = b.clone(f, a.file); a.cloned {
		err = b.folders.Chtimes(a.file, b.storage.stamp())
	} else if err = b.link(f, fi, a.file); err != nil {
		return nil, fmt.Errorf("adopt %s: %w: %w", f.Name(), errors.ErrUnsupported, err)
	}
	if err == nil {
		a.s, err = b.folders.Lstat(a.file)
	}
	original := folders.StatusOf(fi)
	linked := a.s.Inode == original.Inode && a.s.Time.Equal(original.Time)
	if err == nil && (!a.s.Regular || a.s.Size != original.Size || !a.cloned && !linked) {
		err = fmt.Errorf("adopt %s: %w", f.Name(), bucket.ErrChanged)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// clone reports whether it has made a clone of a file.
func (b *Bucket) clone(f *os.File, to string) bool {
	if b.noClone.Load() {
		return false
	}
	err := b.folders.CloneFile(f, to)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.ENOTTY) {
		b.noClone.Store(true)
	}
	return err == nil
}

// link gives a file another name. Nobody knows whether its writer has synced it, so that is done
// here: before the link, which would make the sync wait for the journal.
func (b *Bucket) link(f *os.File, fi os.FileInfo, to string) error {
	if on, err := b.root.Stat(tmpDir); err != nil || !onOneDevice(on, fi) {
		return errors.Join(err, unix.EXDEV)
	}
	if err := b.storage.syncData(f); err != nil {
		// The kernel reports success the next time, so the bytes get a file of their own.
		b.noAdopt.Store(true)
		b.storage.config.Log.Error("sync of a file to be linked failed; from now on such files are copied",
			"file", f.Name(), "error", err)
		return err
	}
	return b.folders.LinkFile(f, to)
}

// Cloned implements bucket.Adoption.
func (a *adoption) Cloned() bool { return a.cloned }

// Open implements bucket.Adoption. Errors: bucket.ErrChanged.
func (a *adoption) Open() (io.ReadCloser, error) { return a.open() }

func (a *adoption) open() (*os.File, error) {
	f, err := a.b.folders.OpenFile(a.file, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (fi.Size() != a.s.Size || !fi.ModTime().Equal(a.s.Time)) {
		err = fmt.Errorf("adopted file: %w", bucket.ErrChanged)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Commit implements bucket.Adoption. The bytes are durable when it returns.
func (a *adoption) Commit(ctx context.Context, key, damaged string) (info bucket.Info, adopted bool, err error) {
	path, err := objectPath(key)
	if err != nil {
		return bucket.Info{}, false, err
	}
	if err := ctx.Err(); err != nil {
		return bucket.Info{}, false, err
	}
	b := a.b
	b.flush()
	f, err := a.open()
	if err != nil {
		return bucket.Info{}, false, err
	}
	defer f.Close()
	if a.cloned && !a.synced {
		if a.failed == nil {
			a.failed = b.storage.syncData(f)
		}
		if a.failed != nil {
			return bucket.Info{}, false, syncError(key, a.failed)
		}
		a.synced = true
	}
	defer b.lockPath(path)()
	held, err := b.stat(key, path)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		err = b.change(path, ledger.Created, func() error { return b.folders.Link(a.file, path) })
	case err != nil:
		return bucket.Info{}, false, err
	case held.Size == a.s.Size && held.Version != damaged:
		return held, false, nil
	default:
		err = a.replace(key, path)
	}
	if err != nil {
		return bucket.Info{}, false, writeError("adopt", key, err)
	}
	info, err = b.stat(key, path)
	return info, true, err
}

// replace gives the file the name of an object that exists. The object's lock is held.
func (a *adoption) replace(key, path string) error {
	b, from := a.b, tmpDir+"/"+strconv.FormatUint(a.b.names.Add(1), 36)
	if err := b.folders.Link(a.file, from); err != nil {
		return err
	}
	b.supersede(key)
	kind := ledger.Created
	if _, err := b.folders.Lstat(path); err == nil {
		kind = ledger.Replaced
	}
	err := b.change(path, kind, func() error { return b.folders.Rename(from, path) })
	if err != nil || b.exists(from) { // a rename to another name of the same file does nothing
		b.folders.Remove(from)
	}
	return err
}

// Close implements bucket.Adoption.
func (a *adoption) Close() error { return a.b.folders.Remove(a.file) }
