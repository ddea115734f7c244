package dir

import (
	"io/fs"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

const (
	// alikeAge is how long a file is the source of objects that are alike, and by how much the
	// time of such an object may be early.
	alikeAge = time.Second
	// alikeLinks bounds the names of one file, far below what file systems allow
	// (65,000 on ext4, 32,767 on HFS+).
	alikeLinks = 4096
	// alikeBytes bounds the size of such objects. Records of links have about a hundred bytes.
	alikeBytes = 4096
	// alikeSources bounds the contents that are remembered. Objects with other contents get a
	// file each.
	alikeSources = 64
)

// alikes makes small objects of which many have the same bytes, mostly no bytes at all. Each is
// one more name of a file in tmp/, which is replaced every second. A name costs the disk much
// less than a file, and a push makes as many links as other objects.
type alikes struct {
	mu      sync.Mutex         // guards sources
	sources map[string]*source // by their bytes
}

// of returns the source of objects with these bytes, or nil if there are too many.
func (a *alikes) of(b *Bucket, data []byte) *source {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.sources[string(data)]; e != nil {
		return e
	}
	if len(a.sources) >= alikeSources {
		a.prune(b)
	}
	if len(a.sources) >= alikeSources {
		return nil
	}
	if a.sources == nil {
		a.sources = map[string]*source{}
	}
	e := &source{data: string(data)}
	a.sources[e.data] = e
	return e
}

// prune forgets the sources that are not in use. a.mu is held.
func (a *alikes) prune(b *Bucket) {
	for data, e := range a.sources {
		if !e.mu.TryLock() {
			continue
		}
		if !e.fresh() {
			e.drop(b)
			e.pruned = true
			delete(a.sources, data)
		}
		e.mu.Unlock()
	}
}

// close removes the files of all sources. The bucket's Close calls it.
func (a *alikes) close(b *Bucket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.sources {
		e.mu.Lock()
		e.drop(b)
		e.mu.Unlock()
	}
	clear(a.sources)
}

// source is a file that objects with some bytes are names of.
type source struct {
	data string

	mu     sync.RWMutex // guards what follows; shared while file is used
	file   string       // in tmp/; empty: none yet
	s      folders.Status
	until  time.Time
	used   atomic.Int64 // names that were requested
	pruned bool         // another source has taken its place
}

// current returns the file for one more name, and a function that releases it. The file is
// empty if the source was pruned.
func (e *source) current(b *Bucket) (file string, s folders.Status, release func(), err error) {
	for {
		e.mu.RLock()
		if e.pruned || e.fresh() && e.used.Add(1) <= alikeLinks {
			return e.file, e.s, e.mu.RUnlock, nil
		}
		e.mu.RUnlock()
		if err := e.renew(b); err != nil {
			return "", folders.Status{}, nil, err
		}
	}
}

// fresh reports whether the file can still be used. e.mu is held.
func (e *source) fresh() bool {
	return e.file != "" && e.used.Load() < alikeLinks && time.Now().Before(e.until)
}

// renew makes another file, unless another caller did so meanwhile.
func (e *source) renew(b *Bucket) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pruned || e.fresh() {
		return nil
	}
	e.drop(b)
	file := tmpDir + "/" + strconv.FormatUint(b.names.Add(1), 36)
	f, err := b.folders.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(e.data)
	if err == nil {
		err = b.folders.Chtimes(file, b.storage.stamp())
	}
	if err == nil {
		e.s, err = b.folders.Lstat(file)
	}
	if err == nil {
		// A journal keeps a file with its first name. Without one, the sync of a directory does
		// not necessarily write the file that it names.
		if err = b.storage.syncData(f); err != nil {
			err = syncError(file, err)
		}
	}
	if err != nil {
		b.folders.Remove(file)
		return err
	}
	e.file, e.until = file, time.Now().Add(alikeAge)
	e.used.Store(0)
	return nil
}

// drop removes the file's name in tmp/. e.mu is held.
func (e *source) drop(b *Bucket) {
	if e.file != "" {
		b.folders.Remove(e.file)
		e.file = ""
	}
}

// putAlike creates an object as one more name of a file, which was synced when it was
// made. done is false if it must get a file of its own.
func (b *Bucket) putAlike(key, path string, data []byte) (info bucket.Info, done bool, err error) {
	defer b.lockPath(path)()
	if p := b.overlay.get(key); p != nil {
		return bucket.Info{}, true, writeError("put", key, fs.ErrExist)
	}
	for range maxTries {
		from := b.alikes.of(b, data)
		if from == nil {
			break
		}
		file, s, release, err := from.current(b)
		if err != nil {
			return bucket.Info{}, true, writeError("put", key, err)
		}
		if file == "" {
			release()
			continue
		}
		defer release()
		if err := b.change(path, ledger.Created, func() error { return b.folders.Link(file, path) }); err != nil {
			return bucket.Info{}, true, writeError("put", key, err)
		}
		return describe(key, s), true, nil
	}
	return bucket.Info{}, false, nil
}
