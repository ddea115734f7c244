package store

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// grace remembers whom the store told lately that content is here, so that the
// collector leaves it: a client that asked is about to push a manifest that names
// it. It lives in memory only; after a start everything counts as touched.
type grace struct {
	mu      sync.Mutex
	touched map[touch]time.Time // guarded by mu; pruned by the collector
}

type touch struct {
	repo   string
	digest digest.Digest
}

// touch restarts the grace of content in repo.
func (g *grace) touch(now time.Time, repo string, ds ...digest.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.touched == nil {
		g.touched = map[touch]time.Time{}
	}
	for _, d := range ds {
		g.touched[touch{repo, d}] = now
	}
}

// young tells whether content of repo was touched after since.
func (g *grace) young(since time.Time, repo string, d digest.Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.touched[touch{repo, d}]
	return ok && at.After(since)
}

// prune forgets what was touched before since.
func (g *grace) prune(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for t, at := range g.touched {
		if !at.After(since) {
			delete(g.touched, t)
		}
	}
}
