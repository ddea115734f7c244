package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

// maxPending bounds the committed uploads whose bytes are not durable yet, and with
// them open files and goroutines. A commit beyond it waits for an earlier one.
const maxPending = 512

// pendingObject is a committed upload that is not in objects/ yet.
type pendingObject struct {
	key  string
	path string // in objects/
	file string // in pending/
	info bucket.Info
	f    *os.File
	done chan struct{} // closed when it is published, lost or superseded
	// superseded by a delete or a put before it was published. Guarded by the
	// object's lock.
	superseded bool
}

// overlay has the pending objects, which readers see as if they were in objects/.
type overlay struct {
	slots chan struct{}
	count atomic.Int64 // of objects, so that readers skip the lock when there are none
	mu    sync.RWMutex // guards objects
	// objects by key.
	objects map[string]*pendingObject
}

func (o *overlay) init() {
	o.slots = make(chan struct{}, maxPending)
	o.objects = make(map[string]*pendingObject)
}

func (o *overlay) get(key string) *pendingObject {
	if o.count.Load() == 0 {
		return nil
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.objects[key]
}

func (o *overlay) put(p *pendingObject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[p.key] = p
	o.count.Store(int64(len(o.objects)))
}

func (o *overlay) remove(p *pendingObject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.objects[p.key] == p {
		delete(o.objects, p.key)
	}
	o.count.Store(int64(len(o.objects)))
}

// list returns the objects of a List, sorted.
func (o *overlay) list(prefix, after string) []bucket.Info {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []bucket.Info
	for key, p := range o.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			out = append(out, p.info)
		}
	}
	slices.SortFunc(out, func(a, b bucket.Info) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// wait returns when nothing is pending.
func (o *overlay) wait() {
	for range maxPending {
		o.slots <- struct{}{}
	}
	for range maxPending {
		<-o.slots
	}
}

// show makes a file in pending/ the object p.key and begins to publish it. The caller holds the
// object's lock and a slot of the overlay, which show takes over.
func (b *Bucket) show(p *pendingObject) {
	p.done = make(chan struct{})
	b.overlay.put(p)
	b.work.Add(1)
	go b.publish(p)
}

// publish makes the bytes durable and then gives the object its name in objects/.
// It outlives the request that committed; Close waits for it.
func (b *Bucket) publish(p *pendingObject) {
	defer b.work.Done()
	defer func() { <-b.overlay.slots }()
	defer close(p.done)
	err := b.storage.syncData(p.f)
	p.f.Close()
	defer b.lockPath(p.path)()
	if p.superseded {
		return
	}
	if err == nil {
		err = b.change(p.path, ledger.Created, func() error { return b.folders.Link(p.file, p.path) })
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		b.ledger.Lose(p.path, err)
		b.storage.config.Log.Error("upload could not be made durable and was dropped", "object", p.key, "error", err)
	}
	b.overlay.remove(p)
	b.removePending(p.file)
}

// supersede removes a pending object before it is published, and reports whether there was one.
// The caller holds the object's lock.
func (b *Bucket) supersede(key string) bool {
	p := b.overlay.get(key)
	if p == nil {
		return false
	}
	p.superseded = true
	b.overlay.remove(p)
	b.removePending(p.file)
	return true
}

// removePending removes a file from pending/. If that fails, the next Open drops or publishes
// the file, as if the process had been killed here.
func (b *Bucket) removePending(file string) {
	if err := b.remove(file); err != nil {
		b.storage.config.Log.Error("removing a file that is no longer pending failed", "file", file, "error", err)
	}
}

// recoverPending publishes what an earlier process committed and had no time to make durable.
// After a killed process the files are whole, because the kernel has them; after a power cut
// they may not be, and Verify checks them.
func (b *Bucket) recoverPending() error {
	left, err := b.readDir(pendingDir)
	if err != nil {
		return err
	}
	for _, entry := range left {
		if err := b.recoverOne(entry.Name()); err != nil {
			return fmt.Errorf("recover %s/%s: %w", pendingDir, entry.Name(), err)
		}
	}
	return nil
}

func (b *Bucket) recoverOne(name string) error {
	file := pendingDir + "/" + name
	key, ok := pendingKey(name)
	if !ok {
		b.storage.config.Log.Warn("foreign file in the bucket skipped", "path", file)
		return nil
	}
	path, err := objectPath(key)
	if err != nil {
		return err
	}
	if b.exists(path) {
		return b.remove(file)
	}
	f, err := b.folders.OpenFile(file, os.O_RDONLY)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	if b.storage.config.Verify == nil || b.storage.config.Verify(key, f) != nil {
		f.Close()
		b.storage.config.Log.Warn("incomplete upload dropped; no acknowledged content needs it", "object", key)
		return b.remove(file)
	}
	b.overlay.slots <- struct{}{}
	defer b.lockPath(path)()
	b.show(&pendingObject{key: key, path: path, file: file, info: describe(key, folders.StatusOf(fi)), f: f})
	return nil
}
