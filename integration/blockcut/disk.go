// Package blockcut is a disk for tests, below a real file system of the kernel, that loses
// unflushed writes at a power cut.
//
// The disk is in memory. FUSE serves it as one file, a loop device makes a block
// device of that, and on it is an ext4 or an XFS. So the kernel decides, as on every
// machine, what a sync of a file writes and when it flushes; the disk only keeps the order in
// which it answered writes and flushes, and lets a flush overtake writes that are in flight.
// Cut then returns what a machine may find after a power cut at any moment: all writes that
// were answered before the last flush, and any subset of the sectors written after it. One run
// can be cut at many moments. The result of a cut is another disk, on which the kernel recovers
// its journal.
//
//	disk := template.Clone()
//	dir, unmount, err := blockcut.Ext4.Mount(disk, t.TempDir()) // template is of Ext4.Format
//	…                       // write and sync; disk.Position() is the moment
//	err = unmount()
//	after := disk.Cut(position, rng)
//
// Package fusefs, which is worse than any real file system, shows which sync of a file or
// directory is needed. This package shows what ext4 and XFS do for a sync, and for syncfs,
// which FUSE does not receive. Disks that lie about flushes are out of scope: no data is safe
// on them.
package blockcut

import (
	"slices"
	"sync"
)

// SectorSize is the size in bytes that the disk writes whole or not at all. The loop device
// reports it to the file system.
const SectorSize = 4096

// Size of every disk, in bytes: an XFS has at least 300 MB. Only written sectors take memory.
const Size = 512 << 20

// sector is the content of a sector; nil means zeros.
type sector *[SectorSize]byte

// record is a write of some sectors or, without any, a flush.
type record struct {
	first   int
	sectors []sector
}

// Disk is safe for concurrent use. It is mounted at most once.
type Disk struct {
	server
	base []sector // before the log; not changed

	mu      sync.Mutex // guards all below
	now     []sector
	log     []record
	flushes int
	flush   chan struct{} // closed at the next one
	foul    error         // the first request that no block device would get
	dead    bool
}

// New returns a disk of zeros.
func New() *Disk { return newDisk(make([]sector, Size/SectorSize)) }

func newDisk(content []sector) *Disk {
	d := &Disk{base: content, now: slices.Clone(content), flush: make(chan struct{})}
	d.init(d)
	return d
}

// Clone returns a disk with the current content of this one, all of it flushed. Sectors are
// never changed in place, so they are shared.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return newDisk(slices.Clone(d.now))
}

// Position is the number of writes and flushes so far, in the order in which they were
// answered: a moment.
func (d *Disk) Position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Flushes counts the flushes so far.
func (d *Disk) Flushes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes
}

// Unflushed counts the writes that a power cut at a position may lose.
func (d *Disk) Unflushed(at int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return at - flushedAt(d.log[:at])
}

// flushedAt is the length of the log up to its last flush.
func flushedAt(log []record) int {
	for n := len(log); n > 0; n-- {
		if len(log[n-1].sectors) == 0 {
			return n
		}
	}
	return 0
}

// Err reports a request for less than whole sectors: a fault of the test itself.
func (d *Disk) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.foul
}

// kill has every further request fail.
func (d *Disk) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

func (r record) apply(to []sector) { copy(to[r.first:], r.sectors) }
