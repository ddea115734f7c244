package fusefs

import (
	"path"
	"slices"
	"syscall"
	"time"
)

// inode is a file or a directory. FS.mu guards it.
type inode struct {
	id    uint64
	mode  uint32
	mtime time.Time
	links int // names that the running machine sees
	opens int
	freed bool

	// The latest name of the inode, which OnSync and Syncs use.
	parent *inode
	name   string

	// A file: its visible content, and its content at the last sync. durable is
	// never changed in place.
	data, durable []byte
	dirty         bool
	// low is the smallest size since the last sync: content beyond it was removed for a while,
	// and may come back as zeros.
	low int
	// failed: a sync failed, so later ones persist nothing.
	failed bool

	// A directory: the entries seen, those of the last sync, and the operations
	// between the two, each as the entries that it set. All by folded name. An
	// operation persists whole or not at all, so a rename within a directory is
	// atomic.
	entries, kept map[string]entry
	pending       []map[string]entry
}

// entry is a name in a directory. A nil node means that there is no such entry.
type entry struct {
	name string
	node *inode
}

func (n *inode) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// path is the place of n below the root.
func (n *inode) path() string {
	if n.parent == nil {
		return ""
	}
	return path.Join(n.parent.path(), n.name)
}

// apply changes the visible entries of a directory, and records the change as unsynced.
func (n *inode) apply(set map[string]entry) {
	n.pending = append(n.pending, set)
	merge(n.entries, set)
	n.mtime = time.Now()
}

func merge(entries, set map[string]entry) {
	for key, e := range set {
		if e.node == nil {
			delete(entries, key)
		} else {
			entries[key] = e
		}
	}
}

// sync applies a sync with this outcome to n.
func (n *inode) sync(o Outcome) {
	switch {
	case o == Fail && !n.isDir():
		n.failed = true
	case o != Durable || n.failed:
	case n.isDir():
		for _, set := range n.pending {
			merge(n.kept, set)
		}
		n.pending = nil
	case n.dirty:
		n.durable = slices.Clone(n.data)
		n.dirty = false
		n.low = len(n.data)
	}
}

// write puts p at off; a gap reads as zeros. The caller has made sure of room.
func (n *inode) write(p []byte, off int64) {
	if end := off + int64(len(p)); end > int64(len(n.data)) {
		n.resize(end)
	}
	copy(n.data[off:], p)
	n.dirty = true
	n.mtime = time.Now()
}

func (n *inode) resize(size int64) {
	if size <= int64(len(n.data)) {
		n.data = n.data[:size]
		n.low = min(n.low, int(size))
	} else {
		grown := len(n.data)
		n.data = slices.Grow(n.data, int(size)-grown)[:size]
		clear(n.data[grown:])
	}
	n.dirty = true
	n.mtime = time.Now()
}
