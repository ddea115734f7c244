package fusefs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is the unit in bytes in which an unsynced write may be torn.
const sector = 512

// Cut kills the disk and returns one of the states in which a machine may find it
// after the power failed at that moment. The same dead disk can be cut many times,
// with another outcome each.
func (f *FS) Cut(rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kill()
	c := &copier{to: newFS(f.fold, f.limit), done: make(map[*inode]*inode)}
	// A third each: nothing unsynced persisted, everything did, or a coin for each. A fair coin
	// alone would rarely produce losses of one kind.
	odds := rng.IntN(3)
	kept := func() bool { return odds == 1 || odds == 2 && rng.IntN(2) == 0 }
	c.entries = func(n *inode) map[string]entry {
		entries := maps.Clone(n.kept)
		for _, set := range n.pending {
			if kept() {
				merge(entries, set)
			}
		}
		return entries
	}
	c.data = func(n *inode) []byte {
		switch {
		case !n.dirty || odds == 0:
			return n.durable
		case odds == 1 || rng.IntN(3) == 0:
			return n.data
		default:
			return torn(n, rng)
		}
	}
	c.to.root = c.node(f.root, nil, "")
	return c.to
}

// torn mixes two states of a file: any size that it may have had on the way, and
// each sector from one state or the other, or zeros where the file had been
// shorter and its data had not followed.
func torn(n *inode, rng *rand.Rand) []byte {
	size := len(n.data)
	if rng.IntN(2) == 0 {
		most := max(len(n.durable), len(n.data))
		size = n.low + rng.IntN(most-n.low+1)
	}
	out := make([]byte, size)
	for at := 0; at < size; at += sector {
		end := min(at+sector, size)
		from := n.data
		switch rng.IntN(3) {
		case 0:
			from = n.durable
		case 1:
			from = n.durable[:n.low]
		}
		if at < len(from) {
			copy(out[at:end], from[at:])
		}
	}
	return out
}

// Restart kills the disk and returns it as the next process finds it after a kill of this
// process on a running machine: everything visible is there, and unsynced data is still
// unsynced.
func (f *FS) Restart() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kill()
	c := &copier{
		to:      newFS(f.fold, f.limit),
		done:    make(map[*inode]*inode),
		running: true,
		entries: func(n *inode) map[string]entry { return n.entries },
		data:    func(n *inode) []byte { return n.data },
	}
	c.to.root = c.node(f.root, nil, "")
	for _, n := range c.to.nodes {
		c.to.release(n) // unlinked, but the unlink is not durable
	}
	return c.to
}

// copier copies what can be reached from the root into another disk.
type copier struct {
	to      *FS
	done    map[*inode]*inode
	running bool // keep what is unsynced as unsynced
	entries func(*inode) map[string]entry
	data    func(*inode) []byte
}

// node copies n and all below it, once.
func (c *copier) node(n, parent *inode, name string) *inode {
	if n == nil {
		return nil
	}
	if m := c.done[n]; m != nil {
		return m
	}
	m := c.to.newNode(n.mode, parent, name)
	m.mtime = n.mtime
	c.done[n] = m
	if !n.isDir() {
		m.data = slices.Clone(c.data(n))
		m.durable = slices.Clone(m.data)
		m.low = len(m.data)
		c.to.used += int64(len(m.data))
		if c.running {
			m.durable, m.dirty, m.failed, m.low = n.durable, n.dirty, n.failed, n.low
		}
		return m
	}
	m.entries = c.copied(c.entries(n), m)
	for _, e := range m.entries {
		e.node.links++
		c.to.used += entryWeight
	}
	m.kept = maps.Clone(m.entries)
	if c.running {
		m.kept = c.copied(n.kept, m)
		for _, set := range n.pending {
			m.pending = append(m.pending, c.copied(set, m))
		}
	}
	return m
}

func (c *copier) copied(entries map[string]entry, parent *inode) map[string]entry {
	out := make(map[string]entry, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) { // in order, so that a seed repeats
		e := entries[key]
		out[key] = entry{e.name, c.node(e.node, parent, e.name)}
	}
	return out
}
