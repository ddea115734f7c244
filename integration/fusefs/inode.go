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

	// Where the inode was linked last: what OnSync and Syncs call it.
	parent *inode
	name   string

	// A file: what is seen, and what was there at the last sync. durable is
	// never changed in place.
	data, durable []byte
	dirty         bool
	// low is the smallest size since the last sync: what lies beyond was gone
	// for a while, and may come back as zeros.
	low int
	// failed: a sync failed, so later ones persist nothing.
	failed bool

	// A directory: the entries seen, those of the last sync, and the changes
	// between the two, by folded name.
	entries, kept map[string]entry
	pending       []change
}

// entry is a name in a directory. A nil node stands for no such entry.
type entry struct {
	name string
	node *inode
}

// change is what one operation did to one directory: it persists whole or not at
// all, which makes a rename within a directory atomic.
type change struct {
	set map[string]entry
	// failed: the directory's sync failed, so later ones do not persist it.
	failed bool
}

func (n *inode) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// path is the place of n below the root.
func (n *inode) path() string {
	if n.parent == nil {
		return ""
	}
	return path.Join(n.parent.path(), n.name)
}

// apply changes what is seen of a directory, and remembers it as unsynced.
func (n *inode) apply(set map[string]entry) {
	n.pending = append(n.pending, change{set: set})
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

// sync does to n what a sync with this outcome does.
func (n *inode) sync(o Outcome) {
	switch {
	case o == Lie:
	case n.isDir() && o == Fail:
		for i := range n.pending {
			n.pending[i].failed = true
		}
	case n.isDir():
		n.syncEntries()
	case o == Fail:
		n.failed = true
	case !n.failed && n.dirty:
		n.durable = slices.Clone(n.data)
		n.dirty = false
		n.low = len(n.data)
	}
}

// syncEntries persists the pending changes. Those of a failed sync stay in doubt,
// until a later change of the same name that did persist settles it.
func (n *inode) syncEntries() {
	var doubtful []change
	for _, c := range n.pending {
		if c.failed {
			doubtful = append(doubtful, c)
			continue
		}
		merge(n.kept, c.set)
		for _, d := range doubtful {
			for key := range c.set {
				delete(d.set, key)
			}
		}
	}
	n.pending = doubtful
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
