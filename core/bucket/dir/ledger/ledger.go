// Package ledger records the directory entries that are not known to be durable, and the syncs
// that make them so. It does no I/O: package dir changes files and syncs directories. The
// ledger reports which directories an object needs, which callers wait for which sync, and what
// a failed sync leaves in doubt.
//
//	l.Begin(path)
//	err := link(from, path)
//	l.End(path, ledger.Created)
//	for _, w := range l.Need(nil, path) {
//		run, start := l.Join(w) // run is nil: durable already
//		...
//	}
//
// Paths are relative to the bucket's root, with slashes; an entry is a directory and a name in
// it. Memory depends on what is not durable yet, except that after an unclean stop up to
// maxSettled directories are remembered.
package ledger

import (
	"strings"
	"sync"
)

// Ledger knows which directory entries are not known to be durable. It is safe for
// concurrent use.
//
// A change is announced before the system call (Begin) and stamped after it (End). Between the
// two the entry stays in the ledger: a reader may see the file before its writer has returned
// from the kernel, and the reader's Sync must not find that there is nothing to do.
type Ledger struct {
	mu   sync.Mutex // guards everything below
	seq  uint64     // stamps every change and every sync, in one order
	dirs map[string]*dirState
	// entries is the number of changes in all of dirs.
	entries int
	// lost has the objects that a failed sync dropped, until they are written again: the writer
	// of such an object gets the error whenever it calls Sync.
	lost map[string]error
	// doubt: after an unclean stop an entry that is not in the ledger may still
	// not be durable, until its directory has been synced once. Only entries are
	// in doubt: the bytes of an object were synced before it got its name.
	doubt   bool
	settled map[string]struct{} // directories synced since then
}

// maxSettled bounds the directories remembered after an unclean stop, some 10 MB.
// Beyond it, all are forgotten, and synced once more when they are used.
const maxSettled = 1 << 16

// dirState is a directory with entries that are not known to be durable.
type dirState struct {
	changes map[string]*change
	wanted  uint64 // the newest change or request
	durable uint64 // what the last good sync covered
	running *Run   // being synced
	queued  *Run   // to be synced next; covers every change until it starts
}

// change is what happened to one entry since its directory was last synced.
type change struct {
	seq  uint64
	open int // writers between Begin and End
	kind Kind
}

// Kind is what happened to an entry.
type Kind int

// The kinds of changes.
const (
	Unchanged Kind = iota // announced, but not made
	Created               // a file that was not there before
	Replaced              // a file over a durable one
	Removed
	MadeDir
)

// Run is one sync of a directory, shared by all callers that wait for it. The caller of
// Ledger.Next sets Err and Gone, and then closes Done.
type Run struct {
	Done   chan struct{}
	Err    error  // of the sync
	Gone   bool   // the directory was not there
	covers uint64 // changes up to here; 0 until it starts
}

// New returns an empty ledger. After an unclean stop every entry is in doubt until its
// directory has been synced.
func New(doubt bool) *Ledger {
	return &Ledger{
		dirs:    make(map[string]*dirState),
		lost:    make(map[string]error),
		doubt:   doubt,
		settled: make(map[string]struct{}),
	}
}

// Begin announces a change of the entry at path.
func (l *Ledger) Begin(path string) {
	dir, name := split(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dir(dir)
	c := d.changes[name]
	if c == nil {
		c = &change{}
		d.changes[name] = c
		l.entries++
	}
	c.open++
	l.stamp(d, c)
}

// End records the result of the change of the entry at path.
func (l *Ledger) End(path string, kind Kind) {
	dir, name := split(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[dir]
	c := d.changes[name]
	c.open--
	if kind == Unchanged {
		if c.open == 0 && c.kind == Unchanged {
			l.forget(d, name)
		}
		return
	}
	if kind == Replaced && c.kind == Created {
		kind = Created // what it replaced was never durable
	}
	c.kind = kind
	l.stamp(d, c)
	delete(l.lost, path)
}

// Wait is a directory, and the change in it that a caller waits for.
type Wait struct {
	Dir  string
	Path string // of the object
	seq  uint64
}

// Need adds to waits what must be synced so that the present state of path is
// durable: its entry, and that of every directory above it.
func (l *Ledger) Need(waits []Wait, path string) []Wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := 0; ; {
		slash := strings.IndexByte(path[at:], '/')
		if slash < 0 {
			return waits
		}
		at += slash + 1
		dir, name := path[:at-1], path[at:]
		if end := strings.IndexByte(name, '/'); end >= 0 {
			name = name[:end]
		}
		d := l.dirs[dir]
		if d != nil && d.changes[name] != nil {
			c := d.changes[name]
			if c.open > 0 {
				l.stamp(d, c) // it may be visible by now: a running sync may miss it
			}
			waits = append(waits, Wait{dir, path, c.seq})
			continue
		}
		if _, ok := l.settled[dir]; l.doubt && !ok {
			d = l.dir(dir)
			l.seq++
			d.wanted = l.seq
			waits = append(waits, Wait{dir, path, d.wanted})
		}
	}
}

// Join returns the run that will cover w, or nil if that is durable. If start is true, the
// caller must begin the directory's loop: Next, a sync, and Succeed or Fail, until Next
// returns nil.
func (l *Ledger) Join(w Wait) (run *Run, start bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[w.Dir]
	if d == nil || d.durable >= w.seq {
		return nil, false
	}
	if d.running != nil && d.running.covers >= w.seq {
		return d.running, false
	}
	if d.queued != nil {
		return d.queued, false
	}
	d.queued = &Run{Done: make(chan struct{})}
	return d.queued, d.running == nil
}

// Next makes the queued run the running one. It does not cover later changes. Next returns nil
// when no caller waits.
func (l *Ledger) Next(dir string) *Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[dir]
	d.running, d.queued = d.queued, nil
	if d.running == nil {
		l.release(dir, d)
		return nil
	}
	d.running.covers = l.seq
	return d.running
}

// Succeed records that a run made everything that it covers durable.
func (l *Ledger) Succeed(dir string, run *Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[dir]
	d.durable = run.covers
	for name, c := range d.changes {
		if c.open == 0 && c.seq <= run.covers {
			l.forget(d, name)
		}
	}
	if l.doubt {
		if len(l.settled) >= maxSettled {
			clear(l.settled)
		}
		l.settled[dir] = struct{}{}
	}
}

// Fail returns the entries created since the last good sync, which a failed run
// leaves in doubt: files, and directories with their content. Replaced and removed entries stay
// in the ledger, and the next caller syncs them again. That is correct for directories, whose
// changes a journal keeps or refuses as a whole; only for file data does a second fsync report
// a false success.
func (l *Ledger) Fail(dir string, run *Run) (files, dirs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, c := range l.dirs[dir].changes {
		switch path := dir + "/" + name; {
		case c.seq > run.covers:
		case c.kind == Created:
			l.lost[path] = run.Err
			files = append(files, path)
		case c.kind == MadeDir:
			dirs = append(dirs, path)
		}
	}
	return files, dirs
}

// Lose marks the object at path as lost.
func (l *Ledger) Lose(path string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[path] = err
}

// Forgive removes the mark of Lose: the object at path was written again.
func (l *Ledger) Forgive(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lost, path)
}

// LostBy returns why the object at path was lost, or nil.
func (l *Ledger) LostBy(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[path]
}

// Changed reports whether the entry at path has a change that is not durable.
func (l *Ledger) Changed(path string) (Kind, bool) {
	dir, name := split(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.dirs[dir]; d != nil && d.changes[name] != nil {
		return d.changes[name].kind, true
	}
	_, ok := l.settled[dir]
	return Unchanged, l.doubt && !ok
}

// Dirty returns everything that is to be synced.
func (l *Ledger) Dirty() (waits []Wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, d := range l.dirs {
		waits = append(waits, Wait{name, name, d.wanted})
	}
	return waits
}

// Size is the number of entries and directories held.
func (l *Ledger) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries + len(l.dirs)
}

// InDoubt reports whether entries that the ledger does not hold may not be durable.
func (l *Ledger) InDoubt() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubt
}

// Settle ends the doubt: every directory has been synced since the unclean stop.
func (l *Ledger) Settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt, l.settled = false, nil
}

// dir returns the state of a directory. l.mu is held.
func (l *Ledger) dir(name string) *dirState {
	d := l.dirs[name]
	if d == nil {
		d = &dirState{changes: make(map[string]*change)}
		l.dirs[name] = d
	}
	return d
}

// stamp gives a change the next number. l.mu is held.
func (l *Ledger) stamp(d *dirState, c *change) {
	l.seq++
	c.seq, d.wanted = l.seq, l.seq
}

// forget drops an entry. l.mu is held.
func (l *Ledger) forget(d *dirState, name string) {
	delete(d.changes, name)
	l.entries--
}

// release drops a directory that has nothing left to record. l.mu is held.
func (l *Ledger) release(name string, d *dirState) {
	if len(d.changes) == 0 && d.wanted <= d.durable {
		delete(l.dirs, name)
	}
}

// split splits a path into its directory and the name in it.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return ".", path
	}
	return path[:i], path[i+1:]
}
