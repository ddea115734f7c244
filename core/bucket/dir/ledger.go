package dir

import (
	"strings"
	"sync"
)

// ledger knows which directory entries are not known to be durable. Paths are those
// below the bucket's root; an entry is a directory and a name in it.
//
// A change is announced before the file system is asked (begin) and stamped after
// (end). Between the two the entry stays in the ledger: a reader may see the file
// before its writer got back from the kernel, and its Sync must not find a ledger
// that says "nothing to do".
type ledger struct {
	mu   sync.Mutex // guards everything below
	seq  uint64     // stamps every change and every sync, in one order
	dirs map[string]*dirState
	// entries is the number of changes in all of dirs.
	entries int
	// lost has the objects that a failed sync took away, until they are written
	// again: who wrote one learns of it when it calls Sync, whenever that is.
	lost map[string]error
	// doubt: after an unclean stop an entry that is not in the ledger may still
	// not be durable, until its directory has been synced once. Only entries are
	// in doubt: the bytes of an object were synced before it got its name.
	doubt   bool
	settled map[string]struct{} // directories synced since then
}

// maxSettled bounds the directories remembered after an unclean stop, some 10 MB.
// Beyond it all are forgotten, and synced once more when they are used.
const maxSettled = 1 << 16

// dirState is a directory with entries that are not known to be durable.
type dirState struct {
	changes map[string]*change
	wanted  uint64  // the newest change or request
	durable uint64  // what the last good sync covered
	running *dirRun // being synced
	queued  *dirRun // to be synced next; covers every change until it starts
}

// change is what happened to one entry since its directory was last synced.
type change struct {
	seq  uint64
	open int // writers between begin and end
	kind changeKind
}

type changeKind int

const (
	unchanged changeKind = iota // announced, and nothing came of it
	created                     // a file that was not there before
	replaced                    // a file over a durable one
	removed
	madeDir
)

// dirRun is one sync of a directory, shared by all who wait for it.
type dirRun struct {
	covers uint64 // changes up to here; 0 until it starts
	done   chan struct{}
	err    error // valid when done is closed
	gone   bool  // the directory was not there
}

func newLedger(doubt bool) *ledger {
	return &ledger{
		dirs:    make(map[string]*dirState),
		lost:    make(map[string]error),
		doubt:   doubt,
		settled: make(map[string]struct{}),
	}
}

// begin announces a change of the entry at path.
func (l *ledger) begin(path string) {
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

// end says what came of it.
func (l *ledger) end(path string, kind changeKind) {
	dir, name := split(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[dir]
	c := d.changes[name]
	c.open--
	if kind == unchanged {
		if c.open == 0 && c.kind == unchanged {
			l.forget(d, name)
		}
		return
	}
	if kind == replaced && c.kind == created {
		kind = created // what it replaced was never durable
	}
	c.kind = kind
	l.stamp(d, c)
	delete(l.lost, path)
}

// wait is a directory and the change in it that somebody waits for.
type wait struct {
	dir  string
	seq  uint64
	path string // of the object
}

// need adds to waits what must be synced so that the present state of path is
// durable: its entry, and that of every directory above it.
func (l *ledger) need(waits []wait, path string) []wait {
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
				l.stamp(d, c) // it may be visible by now: a sync that runs already may miss it
			}
			waits = append(waits, wait{dir, c.seq, path})
			continue
		}
		if _, ok := l.settled[dir]; l.doubt && !ok {
			d = l.dir(dir)
			l.seq++
			d.wanted = l.seq
			waits = append(waits, wait{dir, d.wanted, path})
		}
	}
}

// join returns the run that will cover seq in dir, or nil if that is durable.
// start tells the caller to run the directory's loop.
func (l *ledger) join(dir string, seq uint64) (run *dirRun, start bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[dir]
	if d == nil || d.durable >= seq {
		return nil, false
	}
	if d.running != nil && d.running.covers >= seq {
		return d.running, false
	}
	if d.queued != nil {
		return d.queued, false
	}
	d.queued = &dirRun{done: make(chan struct{})}
	return d.queued, d.running == nil
}

// next makes the queued run the running one. What changes from now on is not
// covered by it. It returns nil when nobody waits any more.
func (l *ledger) next(dir string) *dirRun {
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

// succeed records that a run made everything durable that it covers.
func (l *ledger) succeed(dir string, run *dirRun) {
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

// fail returns the entries created since the last good sync, which a failed run
// leaves in doubt: files, and directories with whatever is in them. What was
// replaced or removed stays in the ledger and is synced again by the next who asks.
// That is sound for directories, whose changes a journal keeps or refuses as a
// whole; it is file data that a second fsync lies about.
func (l *ledger) fail(dir string, run *dirRun) (files, dirs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, c := range l.dirs[dir].changes {
		switch path := dir + "/" + name; {
		case c.seq > run.covers:
		case c.kind == created:
			l.lost[path] = run.err
			files = append(files, path)
		case c.kind == madeDir:
			dirs = append(dirs, path)
		}
	}
	return files, dirs
}

// lose marks the object at path as lost.
func (l *ledger) lose(path string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[path] = err
}

// forgive forgets that the object at path was lost: it was written again.
func (l *ledger) forgive(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lost, path)
}

// lostBy returns why the object at path was lost, or nil.
func (l *ledger) lostBy(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[path]
}

// changed tells whether the entry at path has a change that is not durable.
func (l *ledger) changed(path string) (changeKind, bool) {
	dir, name := split(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.dirs[dir]; d != nil && d.changes[name] != nil {
		return d.changes[name].kind, true
	}
	_, ok := l.settled[dir]
	return unchanged, l.doubt && !ok
}

// dirty returns everything that is to be synced.
func (l *ledger) dirty() (waits []wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, d := range l.dirs {
		waits = append(waits, wait{name, d.wanted, name})
	}
	return waits
}

// size is the number of entries and directories held.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries + len(l.dirs)
}

// dir returns the state of a directory. l.mu is held.
func (l *ledger) dir(name string) *dirState {
	d := l.dirs[name]
	if d == nil {
		d = &dirState{changes: make(map[string]*change)}
		l.dirs[name] = d
	}
	return d
}

// stamp gives a change the next number. l.mu is held.
func (l *ledger) stamp(d *dirState, c *change) {
	l.seq++
	c.seq, d.wanted = l.seq, l.seq
}

// forget drops an entry. l.mu is held.
func (l *ledger) forget(d *dirState, name string) {
	delete(d.changes, name)
	l.entries--
}

// release drops a directory about which nothing is left to say. l.mu is held.
func (l *ledger) release(name string, d *dirState) {
	if len(d.changes) == 0 && d.wanted <= d.durable {
		delete(l.dirs, name)
	}
}

// split divides a path into its directory and the name in it.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return ".", path
	}
	return path[:i], path[i+1:]
}
