package store

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxTouched bounds the entries of a grace, some 6 MiB. A push of the largest manifest
// touches 10,000.
const maxTouched = 1 << 17

// grace remembers the content whose existence was recently reported to clients, so that the
// collector keeps it: such a client is about to push a manifest that names it. Only what exists
// is touched, for callers who may create, and under the repository's lock, which the collector
// takes before it looks. It lives in memory only. Everything counts as touched after a start, and
// also when the memory for more is used up.
type grace struct {
	mu      sync.Mutex
	touched map[touch]int64 // when, in ns since 1970; guarded by mu, pruned by the collector
	all     time.Time       // when everything was touched; guarded by mu
}

// touch is a digest in a repository, hashed twice: names are long, and two with the same
// hash would only share a grace.
type touch [2]uint64

var touchSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func touchOf(repo string, d digest.Digest) (t touch) {
	for i, seed := range touchSeeds {
		var h maphash.Hash
		h.SetSeed(seed)
		h.WriteString(repo)
		h.WriteByte('@')
		h.WriteString(string(d))
		t[i] = h.Sum64()
	}
	return t
}

// touch restarts the grace of content in repo.
func (g *grace) touch(now time.Time, repo string, ds ...digest.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.touched == nil {
		g.touched = map[touch]int64{}
	}
	for _, d := range ds {
		t := touchOf(repo, d)
		if _, ok := g.touched[t]; !ok && len(g.touched) >= maxTouched {
			clear(g.touched)
			g.all = now
		}
		g.touched[t] = now.UnixNano()
	}
}

// young reports whether content of repo was touched after since.
func (g *grace) young(since time.Time, repo string, d digest.Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.touched[touchOf(repo, d)]
	return ok && at > since.UnixNano() || g.all.After(since)
}

// prune forgets entries that were touched before since.
func (g *grace) prune(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for t, at := range g.touched {
		if at <= since.UnixNano() {
			delete(g.touched, t)
		}
	}
}

// size is the number of entries.
func (g *grace) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.touched)
}
