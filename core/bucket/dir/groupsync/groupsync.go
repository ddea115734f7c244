// Package groupsync makes files and directories durable. Few syncs are made one by one; many
// waiting syncs are replaced by one sync of the whole file system (group commit). The disk then
// writes and flushes once for all of them, instead of once for each.
//
//	s := groupsync.New((*os.File).Sync, log)
//	s.Together(groupsync.All(f), 0) // f: any file of that file system
//	err := s.File(f)
//
// A Syncer knows no paths and does not record what is durable: package ledger does.
package groupsync

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// Bounds of the fsyncs that run at once; each holds a thread. Files and directories have
// separate slots, so that the metadata of a small push does not wait for the bytes of large
// blobs.
const (
	// maxDataSyncs is enough to keep a disk's queue full.
	maxDataSyncs = 32
	// maxDirSyncs is small: a journaling file system serves all waiting syncs with one commit,
	// and more than a few only contend for its journal (on ext4 the system time of a push rose
	// with every step from 4 to 64, its speed did not).
	maxDirSyncs = 8
)

const (
	// groupFrom is the number of concurrent syncs from which they are grouped: more than a
	// single client causes, whose pushes are faster with separate syncs. The two kinds are
	// never mixed: side by side they are slower than either alone.
	groupFrom = 12
	// groupLeast is the size below which a group was not worth it. Grouping ends after
	// smallGroups of them in a row. Small groups are common even with many clients: the first
	// sync does not wait for others, and syncs come in bursts. With 8, grouping ended and began
	// again all the time (sixteen clients pushed a fifth fewer images).
	groupLeast  = 4
	smallGroups = 64
)

// errBusy is the error of a sync of everything that would wait for other writers.
var errBusy = errors.New("too much unwritten data of other writers")

// Syncer makes files and directories durable. It is safe for concurrent use.
type Syncer struct {
	one func(*os.File) error
	log *slog.Logger

	files, dirs slots
	groups      atomic.Uint64 // syncs of everything that were made

	mu      sync.Mutex   // guards what follows
	all     func() error // syncs everything on the file system, or returns errBusy; nil: not available
	from    int          // the number of concurrent syncs from which they are grouped
	active  int          // turns
	grouped bool         // syncs that come now join a group
	small   int          // small groups in a row
	next    *group       // gathers members
	running bool         // the loop of groups
}

// Together uses all to make everything durable when from syncs wait; 0 means the default
// number. nil for all ends grouping.
func (s *Syncer) Together(all func() error, from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	if from > 0 {
		s.from = from
	}
}

// Never ends grouping permanently.
func (s *Syncer) Never() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.grouped = nil, false
}

// slots limits the separate syncs of a kind that may run at once.
type slots chan struct{}

// group is a set of syncs that are made as one. It starts when all its members have come.
type group struct {
	size    int
	done    chan struct{}
	durable bool // valid when done is closed; if false, each member syncs by itself
}

// New returns a Syncer that calls one to make a file or directory durable. It makes no groups
// before Together. log receives the errors of groups.
func New(one func(*os.File) error, log *slog.Logger) *Syncer {
	return &Syncer{one: one, from: groupFrom, log: log, files: make(slots, maxDataSyncs), dirs: make(slots, maxDirSyncs)}
}

// File makes the bytes of an open file durable. Errors: those of the sync of this file.
func (s *Syncer) File(f *os.File) error { return s.sync(s.files, f) }

// Directory makes the entries of an open directory durable. Errors: those of its sync.
func (s *Syncer) Directory(f *os.File) error { return s.sync(s.dirs, f) }

// Groups returns how many syncs of everything were made.
func (s *Syncer) Groups() uint64 { return s.groups.Load() }

func (s *Syncer) sync(kind slots, f *os.File) error {
	t := s.turn(kind)
	defer t.End()
	return t.Sync(f)
}

// Turn is the right to one sync.
type Turn struct {
	syncer *Syncer
	kind   slots
	held   bool // a slot of kind
}

// Turn waits until one more sync of a directory may begin. The sync covers all changes up to
// then. The caller must call End.
func (s *Syncer) Turn() *Turn { return s.turn(s.dirs) }

func (s *Syncer) turn(kind slots) *Turn {
	t := &Turn{syncer: s, kind: kind}
	if !s.enter() {
		t.hold()
	}
	return t
}

func (t *Turn) hold() {
	if !t.held {
		t.kind <- struct{}{}
		t.held = true
	}
}

// End gives the turn back.
func (t *Turn) End() {
	if t.held {
		<-t.kind
	}
	t.syncer.mu.Lock()
	defer t.syncer.mu.Unlock()
	t.syncer.active--
}

// Sync makes f durable, alone or in a group. It is called once.
func (t *Turn) Sync(f *os.File) error {
	if t.syncer.join() {
		return nil
	}
	t.hold()
	return t.syncer.one(f)
}

// enter counts a turn, and reports whether syncs are grouped now.
func (s *Syncer) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
	if s.all != nil && s.active >= s.from && !s.grouped {
		s.grouped, s.small = true, 0
	}
	return s.grouped
}

// join waits for the next group, and reports whether it made everything durable.
func (s *Syncer) join() bool {
	g := s.gather()
	if g == nil {
		return false
	}
	<-g.done
	return g.durable
}

// gather adds the caller to the next group, or returns nil if there is none.
func (s *Syncer) gather() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.grouped {
		return nil
	}
	if s.next == nil {
		s.next = &group{done: make(chan struct{})}
	}
	s.next.size++
	if !s.running {
		s.running = true
		go s.loop()
	}
	return s.next
}

// loop makes one group after the other until no caller waits. While one is being made, the next
// one gathers.
func (s *Syncer) loop() {
	for g, all := s.begin(); g != nil; g, all = s.begin() {
		err := errBusy
		if all != nil {
			err = all()
		}
		g.durable = err == nil
		s.made(g, err)
		close(g.done)
	}
}

// begin takes the gathered group. Later syncs join another one.
func (s *Syncer) begin() (g *group, all func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g = s.next
	s.next = nil
	s.running = g != nil
	return g, s.all
}

// made decides whether grouping continues.
func (s *Syncer) made(g *group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.size >= groupLeast {
		s.small = 0
	} else {
		s.small++
	}
	if err != nil || s.small >= smallGroups {
		s.grouped = false
	}
	switch {
	case err == nil:
		s.groups.Add(1)
	case !errors.Is(err, errBusy):
		// The error may concern other files. The sync of each file shows it, since the kernel
		// keeps an error for every process that has the file open.
		s.log.Warn("sync of the whole file system failed; each file is synced separately", "error", err)
	}
}
