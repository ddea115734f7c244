package store

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// repositories has one lock per repository in use.
type repositories struct {
	mu    sync.Mutex // guards inUse, for the time of a map look-up
	inUse map[string]*repository
}

type repository struct {
	sync.RWMutex
	users int // guarded by repositories.mu
}

// lock takes the lock of repo exclusively and returns a function that releases it.
func (r *repositories) lock(repo string) (unlock func()) {
	l := r.enter(repo)
	l.Lock()
	return func() { l.Unlock(); r.leave(repo, l) }
}

// share takes the lock of repo shared.
func (r *repositories) share(repo string) (unlock func()) {
	l := r.enter(repo)
	l.RLock()
	return func() { l.RUnlock(); r.leave(repo, l) }
}

func (r *repositories) enter(repo string) *repository {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.inUse[repo]
	if l == nil {
		if r.inUse == nil {
			r.inUse = map[string]*repository{}
		}
		l = &repository{}
		r.inUse[repo] = l
	}
	l.users++
	return l
}

func (r *repositories) leave(repo string, l *repository) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(r.inUse, repo)
	}
}

// stripeCount is so large that two of some hundred requests at once seldom share a stripe,
// and so small that all stripes are a few KiB.
const stripeCount = 256

// stripes are locks for things that are too many to have a lock each. Two things that share a
// stripe sometimes wait for each other needlessly, for microseconds.
type stripes [stripeCount]sync.RWMutex

var seed = maphash.MakeSeed()

func hashed(key string) uint64 { return maphash.String(seed, key) }

func (s *stripes) of(key string) *sync.RWMutex {
	return &s[hashed(key)%uint64(len(s))]
}

// keepContent keeps the collector from dropping content of d while a link to it is
// made, or while the removal of one is not durable yet: after a power cut a link that
// came back must find its content.
func (s *Store) keepContent(d digest.Digest) (release func()) {
	lock := s.digests.of(string(d))
	lock.RLock()
	return lock.RUnlock
}

// keepContents is keepContent for many. No stripe is taken twice: a waiting writer
// between the two would block the second.
func (s *Store) keepContents(ds []digest.Digest) (release func()) {
	var held []*sync.RWMutex
	for _, d := range ds {
		if lock := s.digests.of(string(d)); !slices.Contains(held, lock) {
			lock.RLock()
			held = append(held, lock)
		}
	}
	return func() {
		for _, lock := range held {
			lock.RUnlock()
		}
	}
}
