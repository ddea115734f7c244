package dir

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// Bounds of the fsyncs that run at once; each holds a thread. Files and directories
// have slots of their own, so that the metadata of a small push does not wait for
// the bytes of large blobs.
const (
	// maxDataSyncs is enough to keep a disk's queue full.
	maxDataSyncs = 32
	// maxDirSyncs is small: a journaling file system answers all that wait with
	// one commit, and beyond a few they only contend for its journal (on ext4 the
	// system time of a push rose with every step from 4 to 64, its speed did not).
	maxDirSyncs = 8
)

const (
	// groupFrom is how many syncs at once are made as one: more than a single client
	// asks for, whose pushes are faster with a sync for each. It is the one or the
	// other, never both: side by side they are slower than each alone.
	groupFrom = 12
	// groupLeast is the size below which a group was not worth it, and smallGroups are
	// so many of them in a row that the groups end. Some are usual while many push: the
	// first who comes does not wait for others.
	groupLeast  = 4
	smallGroups = 8
)

// errBusy is what a sync of everything says when it would wait for what others write.
var errBusy = errors.New("too much is to be written that nobody here waits for")

// syncer makes files and directories durable: each by itself while few are asked for,
// and all that wait as one when they are many (group commit). The disk then writes
// once for all of them, where a sync for each would have it write and flush for each.
type syncer struct {
	one func(*os.File) error
	log *slog.Logger

	files, dirs slots
	groups      atomic.Uint64 // syncs of everything that were made

	mu      sync.Mutex   // guards what follows
	all     func() error // everything on the file system; nil: not to be had. Or errBusy
	from    int          // so many syncs at once are one
	active  int          // turns
	grouped bool         // who comes now joins a group
	small   int          // groups in a row that were not worth it
	next    *group       // gathers
	running bool         // the loop of groups
}

// together has all make everything durable when so many syncs wait; 0: the usual number.
func (s *syncer) together(all func() error, from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	if from > 0 {
		s.from = from
	}
}

// never ends the groups for good.
func (s *syncer) never() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.grouped = nil, false
}

// slots are how many syncs of a kind may run at once, each by itself.
type slots chan struct{}

// group is some syncs that are one. Whoever is in it has been there before it starts.
type group struct {
	size    int
	done    chan struct{}
	durable bool // valid when done is closed; if not, everyone syncs by himself
}

func newSyncer(one func(*os.File) error, log *slog.Logger) *syncer {
	return &syncer{one: one, from: groupFrom, log: log, files: make(slots, maxDataSyncs), dirs: make(slots, maxDirSyncs)}
}

// sync makes one file or directory durable.
func (s *syncer) sync(kind slots, f *os.File) error {
	t := s.turn(kind)
	defer t.end()
	return t.sync(f)
}

// turn is the right to one sync.
type turn struct {
	*syncer
	kind slots
	held bool // a slot of kind
}

// turn waits until one more sync may begin. What changes until then is covered by it.
func (s *syncer) turn(kind slots) *turn {
	t := &turn{syncer: s, kind: kind}
	if !s.enter() {
		t.hold()
	}
	return t
}

func (t *turn) hold() {
	if !t.held {
		t.kind <- struct{}{}
		t.held = true
	}
}

func (t *turn) end() {
	if t.held {
		<-t.kind
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active--
}

// sync makes f durable, alone or in a group.
func (t *turn) sync(f *os.File) error {
	if t.join() {
		return nil
	}
	t.hold()
	return t.one(f)
}

// enter counts a turn, and tells whether there are groups now.
func (s *syncer) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
	if s.all != nil && s.active >= s.from && !s.grouped {
		s.grouped, s.small = true, 0
	}
	return s.grouped
}

// join waits for the next group, and tells whether it made everything durable.
func (s *syncer) join() bool {
	g := s.gather()
	if g == nil {
		return false
	}
	<-g.done
	return g.durable
}

// gather puts the caller into the next group, or returns nil if there is none.
func (s *syncer) gather() *group {
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

// loop makes one group after the other until nobody waits. While one is being made the
// next gathers.
func (s *syncer) loop() {
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

// begin takes the group that has gathered. Who comes now is in another.
func (s *syncer) begin() (g *group, all func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g = s.next
	s.next = nil
	s.running = g != nil
	return g, s.all
}

// made decides whether there are more groups.
func (s *syncer) made(g *group, err error) {
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
		// It need not be about our files; the sync of each tells, since the kernel
		// keeps an error for whoever has the file open.
		s.log.Warn("a sync of everything on the file system failed; each file is synced by itself", "error", err)
	}
}
