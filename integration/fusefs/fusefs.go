// Package fusefs is a disk for tests that behaves as badly as POSIX allows. It is
// a file system in memory, mounted through FUSE, that keeps two states of
// everything: what a running machine sees, and what is on the platter.
//
// A write reaches the platter for certain when the file was fsynced, a directory
// entry when its directory was. Cut returns what a machine may find after a power cut: every
// unsynced write is absent, there, or there in part, and every unsynced entry has persisted or
// not, each on its own. Syncing a file does not sync its name, and syncing a directory does not
// sync its parents' entries. Real file systems are more forgiving; data that survives here
// survives on them.
//
// It can also fold case, fill up, become read-only, fail a sync (with the kernel's habit of calling
// the next one a success), and lie about one, which shows that a test of durability detects the
// loss.
//
//	disk := fusefs.New(fusefs.Options{})
//	dir := fusefs.Mount(t, disk)
//	disk.CutAfter(100)      // power fails at the 101st change
//	…                       // until <-disk.Dead()
//	after := disk.Cut(rng)  // mount this: the machine after the reboot
//
// It refuses operations that a registry does not use: symbolic links, devices, extended
// attributes, and moving a directory to another one.
package fusefs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Options configure the faults of a disk.
type Options struct {
	// FoldCase makes names that differ only in case one name, as APFS does. A
	// file keeps the case that it was created with.
	FoldCase bool
	// Limit is the room in bytes, counting data and a little for each file and
	// name. Zero: no limit.
	Limit int64
}

// FS is the disk. Its methods are safe for concurrent use. One FS is mounted at
// most once.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to everything that is not overridden

	fold bool

	mu       sync.Mutex // guards all below, and every inode
	nodes    map[uint64]*inode
	root     *inode
	nextID   uint64
	handles  map[uint64][]fuse.DirEntry // open directories, by handle
	limit    int64
	used     int64
	frozen   bool
	steps    int64
	cutAt    int64 // the step before which the power fails; 0: never
	dead     chan struct{}
	syncs    map[string]int
	onSync   func(path string) Outcome
	failRead func(path string) bool
}

// Outcome is the result of a sync.
type Outcome int

const (
	// Durable makes the data durable, as fsync promises.
	Durable Outcome = iota
	// Lie reports success and persists nothing.
	Lie
	// Fail reports EIO. A file's bytes will never be persisted: like a kernel that
	// marked the pages clean, later syncs of it report a false success. The
	// entries of a directory are kept for the next sync, as a journal does.
	Fail
)

// The weights of a file and a name against Options.Limit, in bytes.
const (
	nodeWeight  = 256
	entryWeight = 64
)

// New returns an empty disk.
func New(o Options) *FS {
	f := newFS(o.FoldCase, o.Limit)
	f.root = f.newNode(syscall.S_IFDIR|0o755, nil, "")
	return f
}

func newFS(fold bool, limit int64) *FS {
	return &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		fold:          fold,
		limit:         limit,
		nodes:         make(map[uint64]*inode),
		handles:       make(map[uint64][]fuse.DirEntry),
		dead:          make(chan struct{}),
		syncs:         make(map[string]int),
		nextID:        fuse.FUSE_ROOT_ID,
	}
}

// OnSync calls decide at every fsync of a file or directory, for its outcome. decide gets the
// path below the mount point, without a leading slash; for a file that is its latest name, even
// after its unlink. decide runs under the disk's lock and must not use the disk. Nil: all are
// Durable.
func (f *FS) OnSync(decide func(path string) Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onSync = decide
}

// FailReads makes reads of a file fail with EIO if fails returns true. As with OnSync, it gets
// the path and must not use the disk. The kernel does not read again what it has in its cache,
// until the file is opened again. Nil: no read fails.
func (f *FS) FailReads(fails func(path string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failRead = fails
}

// SetLimit changes the room, in bytes; zero lifts the limit. It may be below what
// is used already.
func (f *FS) SetLimit(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}

// SetReadOnly refuses every change from now on, or takes them again, as a kernel that has
// met errors does while files are open. (A remount by hand would be refused then.)
func (f *FS) SetReadOnly(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = on
}

// change counts a change as step does, unless the disk refuses it. The caller holds mu.
func (f *FS) change() fuse.Status {
	switch {
	case f.frozen:
		return fuse.Status(syscall.EROFS)
	case !f.step():
		return fuse.EIO
	}
	return fuse.OK
}

// Used is the room taken, in bytes: by files that have a name or are open.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// Syncs counts the syncs so far by path, as OnSync names them.
func (f *FS) Syncs() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make(map[string]int, len(f.syncs))
	for path, n := range f.syncs {
		counts[path] = n
	}
	return counts
}

// SyncAll makes everything durable that is seen, as syncfs(2) and a flush do on a local
// disk. (The kernel does not pass that call on to FUSE.) It is one step. Errors: EIO
// from a dead disk.
func (f *FS) SyncAll() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.step() {
		return syscall.EIO
	}
	for _, n := range f.nodes {
		n.sync(Durable)
	}
	return nil
}

// Steps counts the changes and syncs so far: the moments at which a power cut
// makes a difference.
func (f *FS) Steps() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

// CutAfter lets n more changes and syncs happen. Then the disk is dead: that one
// and everything after it answers EIO. Zero: dead at once.
func (f *FS) CutAfter(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = f.steps + n + 1
	if n <= 0 {
		f.kill()
	}
}

// Dead is closed when the disk is dead.
func (f *FS) Dead() <-chan struct{} { return f.dead }

// kill ends the disk's life. The caller holds mu.
func (f *FS) kill() {
	select {
	case <-f.dead:
	default:
		close(f.dead)
	}
}

// alive reports whether requests are still answered. The caller holds mu.
func (f *FS) alive() bool {
	select {
	case <-f.dead:
		return false
	default:
		return true
	}
}

// step counts a change and reports whether it may happen. The caller holds mu.
func (f *FS) step() bool {
	if !f.alive() {
		return false
	}
	if f.cutAt > 0 && f.steps+1 >= f.cutAt {
		f.kill()
		return false
	}
	f.steps++
	return true
}

// room is how many bytes may still be taken. The caller holds mu.
func (f *FS) room() int64 {
	if f.limit == 0 {
		return 1 << 40
	}
	return max(0, f.limit-f.used)
}

// newNode makes an inode for name in parent. The caller holds mu.
func (f *FS) newNode(mode uint32, parent *inode, name string) *inode {
	n := &inode{id: f.nextID, mode: mode, mtime: time.Now(), parent: parent, name: name}
	if n.isDir() {
		n.entries = make(map[string]entry)
		n.kept = make(map[string]entry)
	}
	f.nextID++
	f.nodes[n.id] = n
	f.used += nodeWeight
	return n
}

// release frees the room of an inode without a name and an open file. Its data stays, because
// the unlink may not survive a cut. The caller holds mu.
func (f *FS) release(n *inode) {
	if n.links > 0 || n.opens > 0 || n.freed || n == f.root {
		return
	}
	n.freed = true
	f.used -= nodeWeight + int64(len(n.data))
}
