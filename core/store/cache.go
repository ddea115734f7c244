package store

import (
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// cache keeps manifests and tags in memory. It may do so because one process owns
// the bucket. It must never answer with what a finished change has made untrue.
//
// A change to a repository is bracketed by begin and end. Between them nothing of
// that repository enters the cache, and a reader that looked at the bucket before
// end does not cache what it saw: it compares the generation. So a value is either
// in the bucket now, or not in the cache.
type cache struct {
	manifests *otter.Cache[manifestID, core.Manifest]
	tags      *otter.Cache[tagID, digest.Digest]
	guards    [stripeCount]generation
}

type manifestID struct {
	repo   string
	digest digest.Digest
}

type tagID struct{ repo, tag string }

// generation guards the entries of the repositories that hash to it.
type generation struct {
	mu      sync.Mutex
	number  uint64 // of changes begun and ended
	writers int    // changes between begin and end
}

// Weights in bytes beside the content: keys, digests and the cache's own nodes.
const (
	manifestOverhead = 512
	tagOverhead      = 384
)

func newCache(size int64) (*cache, error) {
	manifests, err := otter.New(&otter.Options[manifestID, core.Manifest]{
		MaximumWeight: uint64(size - size/8),
		Weigher: func(_ manifestID, m core.Manifest) uint32 {
			return uint32(len(m.Bytes) + manifestOverhead)
		},
	})
	if err != nil {
		return nil, err
	}
	tags, err := otter.New(&otter.Options[tagID, digest.Digest]{
		MaximumWeight: uint64(size / 8),
		Weigher:       func(id tagID, _ digest.Digest) uint32 { return uint32(len(id.tag) + tagOverhead) },
	})
	if err != nil {
		return nil, err
	}
	return &cache{manifests: manifests, tags: tags}, nil
}

// resize changes the bounds and drops what exceeds them.
func (c *cache) resize(size int64) {
	c.manifests.SetMaximum(uint64(size - size/8))
	c.tags.SetMaximum(uint64(size / 8))
}

func (c *cache) close() {
	c.manifests.StopAllGoroutines()
	c.tags.StopAllGoroutines()
}

func (c *cache) guard(repo string) *generation {
	return &c.guards[hashed(repo)%uint64(len(c.guards))]
}

// beginTags drops the tags from the cache and keeps them out until the returned
// function is called.
func (c *cache) beginTags(repo string, tags ...string) (end func()) {
	return c.begin(repo, func() {
		for _, tag := range tags {
			c.tags.Invalidate(tagID{repo, tag})
		}
	})
}

// beginManifest is beginTags for a manifest.
func (c *cache) beginManifest(repo string, d digest.Digest) (end func()) {
	return c.begin(repo, func() { c.manifests.Invalidate(manifestID{repo, d}) })
}

func (c *cache) begin(repo string, drop func()) (end func()) {
	g := c.guard(repo)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number++
	g.writers++
	drop()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.number++
		g.writers--
	}
}

// look begins a read of the bucket. The returned function caches the result,
// unless the repository was changed meanwhile.
func (c *cache) look(repo string) (put func(set func())) {
	g := c.guard(repo)
	g.mu.Lock()
	number := g.number
	g.mu.Unlock()
	return func(set func()) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.number == number && g.writers == 0 {
			set()
		}
	}
}
