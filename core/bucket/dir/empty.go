package dir

import (
	"io/fs"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// emptyAge is how long a file is the source of empty objects: by so much the time
	// of one may be early.
	emptyAge = time.Second
	// emptyLinks bounds the names of one file, far below what file systems allow
	// (65,000 on ext4, 32,767 on HFS+).
	emptyLinks = 4096
)

// empties makes objects without bytes: each is one more name of a file in tmp/ that is
// empty, and another one every second. A name costs a disk a small part of what a file
// costs, and a push makes as many empty objects as others.
type empties struct {
	mu    sync.RWMutex // guards what follows; shared while file is used
	file  string       // in tmp/; empty: none yet
	s     status
	until time.Time
	used  atomic.Int64 // names that were asked for
}

// current returns the file for one more name, and what releases it.
func (e *empties) current(b *Bucket) (file string, s status, release func(), err error) {
	for {
		e.mu.RLock()
		if e.fresh() && e.used.Add(1) <= emptyLinks {
			return e.file, e.s, e.mu.RUnlock, nil
		}
		e.mu.RUnlock()
		if err := e.renew(b); err != nil {
			return "", status{}, nil, err
		}
	}
}

// fresh tells whether the file can still be used. e.mu is held.
func (e *empties) fresh() bool {
	return e.file != "" && e.used.Load() < emptyLinks && time.Now().Before(e.until)
}

// renew makes another file, unless that was done meanwhile.
func (e *empties) renew(b *Bucket) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fresh() {
		return nil
	}
	e.drop(b)
	file := tmpDir + "/" + strconv.FormatUint(b.names.Add(1), 36)
	f, err := b.folders.openFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = b.folders.chtimes(file, b.storage.stamp()); err == nil {
		e.s, err = b.folders.lstat(file)
	}
	if err == nil {
		// A journal keeps a file with its first name. Without one the sync of a
		// directory need not write the file that it names.
		if err = b.storage.syncData(f); err != nil {
			err = syncError(file, err)
		}
	}
	if err != nil {
		b.folders.remove(file)
		return err
	}
	e.file, e.until = file, time.Now().Add(emptyAge)
	e.used.Store(0)
	return nil
}

// drop takes the file's name in tmp/ away. e.mu is held.
func (e *empties) drop(b *Bucket) {
	if e.file != "" {
		b.folders.remove(e.file)
		e.file = ""
	}
}

// close is for Close of the bucket.
func (e *empties) close(b *Bucket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(b)
}

// putEmpty creates an object without bytes: the file that it names was synced when it
// was made.
func (b *Bucket) putEmpty(key, path string) (bucket.Info, error) {
	defer b.lockPath(path)()
	if p := b.overlay.get(key); p != nil {
		return bucket.Info{}, writeError("put", key, fs.ErrExist)
	}
	file, s, release, err := b.empties.current(b)
	if err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	defer release()
	if err := b.change(path, created, func() error { return b.folders.link(file, path) }); err != nil {
		return bucket.Info{}, writeError("put", key, err)
	}
	return describe(key, s), nil
}
