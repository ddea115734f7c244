package dir

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/groupsync"
)

// Storage is an open storage directory. It holds the lock until Close.
type Storage struct {
	root     *os.Root
	lock     *os.File
	lockRoot *os.File
	config   Config
	clean    bool // the last stop was clean

	syncs     *groupsync.Syncer
	dataSyncs atomic.Uint64
	dirSyncs  atomic.Uint64
	clock     atomic.Int64 // the last stamp, in microseconds

	mu      sync.Mutex // guards buckets
	buckets map[string]*Bucket
}

// Config is what a Storage is made of.
type Config struct {
	// Verify reads an object that was committed but not known to be durable when
	// the process stopped, and returns nil if r is whole. Without it a commit
	// waits until its bytes are durable, and nothing has to be verified.
	Verify func(key string, r io.Reader) error
	// Log receives messages for operators: recovery, foreign files, failed syncs. Default:
	// nothing is logged.
	Log *slog.Logger
	// Sync makes a file or a directory durable. Default: (*os.File).Sync. Tests
	// count, delay and fail it.
	Sync func(*os.File) error
	// SyncAll makes everything on the storage's file system durable, for when many syncs wait.
	// Default: syncfs(2) on ext4 and XFS, unless the machine has much else to write; elsewhere,
	// and if Sync is set, Sync is used for every sync.
	SyncAll func() error
	// GroupFrom is the number of waiting syncs from which SyncAll replaces them. Default: 12.
	// Tests group all of them.
	GroupFrom int
}

// Stats counts the barriers since Open.
type Stats struct {
	DataSyncs uint64 // files made durable
	DirSyncs  uint64 // directories made durable
	Groups    uint64 // syncs of everything that replaced many of these
}

// Open opens or creates the storage at path and locks it. A relative path is taken
// from the working directory, unless that is "/": a service started without a
// working directory would otherwise keep its data in the root of the disk.
//
// Errors are messages for an operator: in use by another process, written by a
// newer program, on a file system that cannot keep a storage.
func Open(path string, config Config) (*Storage, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	ownSync := config.Sync != nil
	if !ownSync {
		config.Sync = (*os.File).Sync
	}
	absolute, err := absolutePath(path)
	if err != nil {
		return nil, err
	}
	s := &Storage{config: config, syncs: groupsync.New(config.Sync, config.Log), buckets: make(map[string]*Bucket)}
	if err := s.mkdirAll(absolute); err != nil {
		return nil, fmt.Errorf("create storage %s: %w", absolute, err)
	}
	if s.root, err = os.OpenRoot(absolute); err != nil {
		return nil, fmt.Errorf("open storage %s: %w", absolute, err)
	}
	if s.lock, err = takeLock(s.root); err != nil {
		s.root.Close()
		return nil, err
	}
	if s.lockRoot, err = takeRoot(s.root); err != nil {
		s.lock.Close()
		s.root.Close()
		return nil, err
	}
	if err := s.prepare(); err != nil {
		s.lockRoot.Close()
		s.lock.Close()
		s.root.Close()
		return nil, err
	}
	switch {
	case config.SyncAll != nil:
		s.syncs.Together(config.SyncAll, config.GroupFrom)
	case !ownSync:
		s.syncs.Together(groupsync.All(s.lock), config.GroupFrom)
	}
	return s, nil
}

// prepare checks the locked directory.
func (s *Storage) prepare() error {
	if err := s.probe(); err != nil {
		return err
	}
	fresh, err := s.checkLayout()
	if err != nil {
		return err
	}
	marked, err := s.takeCleanMark()
	if err != nil {
		return err
	}
	s.clean = fresh || marked
	if !s.clean {
		s.config.Log.Warn("storage was not closed cleanly; everything is synced again in the background", "storage", s.root.Name())
	}
	return nil
}

// Bucket opens the bucket name, a component of a key without capitals, and creates
// it if needed. A second call returns the same one, also when it was closed.
func (s *Storage) Bucket(name string) (*Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	b, err := openBucket(s, name)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s of storage %s: %w", name, s.root.Name(), err)
	}
	s.buckets[name] = b
	return b, nil
}

// Path is the absolute path of the storage.
func (s *Storage) Path() string { return s.root.Name() }

// Stats returns the counts so far.
func (s *Storage) Stats() Stats {
	return Stats{DataSyncs: s.dataSyncs.Load(), DirSyncs: s.dirSyncs.Load(), Groups: s.syncs.Groups()}
}

// Close waits for the background work of the buckets, closes them, marks the storage as cleanly
// stopped if everything in it is durable, and releases the lock. No bucket may be in use.
func (s *Storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	durable := true
	for _, b := range s.buckets {
		errs = append(errs, b.Close())
		durable = durable && b.settled()
	}
	errs = append(errs, s.keepLayout())
	err := errors.Join(errs...)
	if err == nil && durable && (s.clean || s.allOpened()) {
		err = s.writeDurably(cleanFile, nil)
	}
	return errors.Join(err, s.lockRoot.Close(), s.lock.Close(), s.root.Close())
}

// allOpened reports whether every bucket on the disk was opened. A bucket that was not is still
// in the state that the unclean stop before this run left.
func (s *Storage) allOpened() bool {
	names, err := s.onDisk()
	return err == nil && !slices.ContainsFunc(names, func(name string) bool { return s.buckets[name] == nil })
}

// onDisk returns the names of the buckets that are in the directory.
func (s *Storage) onDisk() ([]string, error) {
	f, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := s.root.Lstat(name + "/" + objectsDir)
		return err != nil
	}), err
}

// stamp returns the present time, later than every stamp before it. It becomes the
// modification time of an object and with it part of its version: the kernel's own
// stamps tick in milliseconds and inodes are reused, so that neither distinguishes two quick
// writes.
func (s *Storage) stamp() time.Time {
	for {
		last := s.clock.Load()
		next := max(time.Now().UnixMicro(), last+1)
		if s.clock.CompareAndSwap(last, next) {
			return time.UnixMicro(next)
		}
	}
}

// syncData makes the bytes of an open file durable.
func (s *Storage) syncData(f *os.File) error {
	s.dataSyncs.Add(1)
	return s.syncs.File(f)
}

// syncDir makes the entries of a directory durable.
func (s *Storage) syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s.dirSyncs.Add(1)
	return s.syncs.Directory(f)
}

// mkdirAll creates the storage's directory durably: each new directory is an entry
// of the one above it.
func (s *Storage) mkdirAll(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		if err := s.mkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil {
		return noSpace(err)
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	return s.syncData(parent)
}

func absolutePath(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path of the storage is empty")
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("storage %s: %w", path, err)
	}
	if wd == "/" {
		return "", fmt.Errorf("storage %s is a relative path and the working directory is /: write an absolute path, or set the service's working directory", path)
	}
	return filepath.Join(wd, path), nil
}

// noSpace adds ErrNoSpace to the kernel's error when a disk or a quota is full.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", bucket.ErrNoSpace, err)
	}
	return err
}
