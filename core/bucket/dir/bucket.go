package dir

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/groupsync"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// The directories of a bucket.
const (
	objectsDir = "objects"
	pendingDir = "pending"
	uploadsDir = "uploads"
	tmpDir     = "tmp"
)

// stripes is the number of locks that writers of all keys share. Two keys on one
// lock wait for each other for a few system calls, never for a sync.
const stripes = 256

// errNotDirectory is the kernel's error when a component of a path is a file.
const errNotDirectory = syscall.ENOTDIR

// Bucket is a bucket.Bucket in a directory.
type Bucket struct {
	storage *Storage
	root    *os.Root
	folders *folders.Tree // below root
	ledger  *ledger.Ledger
	overlay overlay
	uploads openUploads
	alikes  alikes
	locks   [stripes]sync.Mutex
	seed    maphash.Seed
	names   atomic.Uint64 // numbers the files in tmp/
	noClone atomic.Bool   // the file system cannot clone
	noAdopt atomic.Bool   // a file that was to be linked could not be synced

	work     sync.WaitGroup // background syncs
	stop     context.CancelFunc
	flushing atomic.Bool
	foreign  sync.Once // a foreign file was reported
	closing  sync.Once
	closed   error
}

var (
	_ bucket.Bucket          = (*Bucket)(nil)
	_ bucket.DeleteIfMatch   = (*Bucket)(nil)
	_ bucket.OpenAfterDelete = (*Bucket)(nil)
	_ bucket.FollowUpload    = (*Bucket)(nil)
	_ bucket.Barrier         = (*Bucket)(nil)
	_ bucket.Rename          = (*Bucket)(nil)
	_ bucket.Adopt           = (*Bucket)(nil)
)

func openBucket(s *Storage, name string) (*Bucket, error) {
	if path, err := encodeKey(name); err != nil || path != name || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: the name of a bucket must be one component without capitals", bucket.ErrKeyInvalid)
	}
	for _, dir := range []string{name, name + "/" + objectsDir, name + "/" + pendingDir, name + "/" + uploadsDir, name + "/" + tmpDir} {
		if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, noSpace(err)
		}
	}
	for _, dir := range []string{name, "."} {
		if err := s.syncDir(s.root, dir); err != nil {
			return nil, err
		}
	}
	root, err := s.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if !sameDevice(s.root, root) {
		s.syncs.Never() // a sync of everything would not reach this bucket
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Bucket{
		storage: s, root: root, folders: folders.New(root), stop: stop,
		ledger: ledger.New(!s.clean), seed: maphash.MakeSeed(),
	}
	b.overlay.init()
	b.uploads.open = make(map[string]*upload)
	if err := b.recover(); err != nil {
		stop()
		b.work.Wait()
		b.folders.Close()
		root.Close()
		return nil, err
	}
	if !s.clean {
		b.work.Add(1)
		go b.sweep(ctx)
	}
	return b, nil
}

// sameDevice reports whether two directories are on one file system.
func sameDevice(a, b *os.Root) bool {
	one, err := a.Stat(".")
	if err != nil {
		return false
	}
	other, err := b.Stat(".")
	return err == nil && onOneDevice(one, other)
}

// onOneDevice reports whether two files are on one file system.
func onOneDevice(a, b fs.FileInfo) bool {
	one, ok := a.Sys().(*syscall.Stat_t)
	other, same := b.Sys().(*syscall.Stat_t)
	return ok && same && one.Dev == other.Dev
}

// Close implements bucket.Bucket. Uploads stay, for the next process.
func (b *Bucket) Close() error {
	b.closing.Do(func() {
		b.stop()
		b.overlay.wait()
		err := b.syncAll()
		b.work.Wait()
		b.uploads.closeAll()
		b.alikes.close(b)
		b.folders.Close()
		b.closed = errors.Join(err, b.root.Close())
	})
	return b.closed
}

// recover restores a consistent tree after an earlier process.
func (b *Bucket) recover() error {
	left, err := b.readDir(tmpDir)
	if err != nil {
		return err
	}
	for _, entry := range left {
		if err := b.root.RemoveAll(tmpDir + "/" + entry.Name()); err != nil {
			return err
		}
	}
	return b.recoverPending()
}

// settled reports whether everything in the bucket is known to be durable, including the writes
// of an earlier process.
func (b *Bucket) settled() bool {
	return !b.ledger.InDoubt()
}

// sweep syncs every directory once after an unclean stop, one at a time. Until it
// is done, Sync does so for the directories that it meets, and a clean stop is not marked as
// one.
func (b *Bucket) sweep(ctx context.Context) {
	defer b.work.Done()
	pending := []string{objectsDir, pendingDir}
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if ctx.Err() != nil {
			return
		}
		entries, err := b.readDir(dir)
		if absent(err) {
			continue
		}
		if err == nil {
			err = b.syncDir(dir)
		}
		if err != nil && !absent(err) {
			b.storage.config.Log.Error("sync after an unclean stop failed", "directory", dir, "error", err)
			return
		}
		for _, entry := range entries {
			if entry.IsDir() {
				pending = append(pending, dir+"/"+entry.Name())
			}
		}
	}
	b.ledger.Settle()
	b.storage.config.Log.Info("every directory has been synced after the unclean stop", "bucket", b.root.Name())
}

// objectPath is where an object is, below the bucket's root. Errors: ErrKeyInvalid.
func objectPath(key string) (string, error) {
	path, err := encodeKey(key)
	if err != nil {
		return "", err
	}
	return objectsDir + "/" + path, nil
}

// lockPath excludes other writers of one object and returns the unlock.
func (b *Bucket) lockPath(path string) func() {
	mu := &b.locks[maphash.String(b.seed, path)%stripes]
	mu.Lock()
	return mu.Unlock
}

// lockPaths is lockPath for two objects.
func (b *Bucket) lockPaths(one, other string) func() {
	i, j := maphash.String(b.seed, one)%stripes, maphash.String(b.seed, other)%stripes
	if i == j {
		return b.lockPath(one)
	}
	first, second := &b.locks[min(i, j)], &b.locks[max(i, j)]
	first.Lock()
	second.Lock()
	return func() { second.Unlock(); first.Unlock() }
}

// syncDir makes the entries of a directory durable.
func (b *Bucket) syncDir(dir string) error {
	t := b.storage.syncs.Turn()
	defer t.End()
	return b.syncDirIn(t, dir)
}

// syncDirIn is syncDir for a caller that has its turn.
func (b *Bucket) syncDirIn(t *groupsync.Turn, dir string) error {
	return b.folders.Directory(dir, func(f *os.File) error {
		b.storage.dirSyncs.Add(1)
		return t.Sync(f)
	})
}

// readDir lists a directory, unordered.
func (b *Bucket) readDir(dir string) ([]fs.DirEntry, error) {
	f, err := b.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}
