package mirror

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Keeper decides what a mirror keeps: an Evictor.
type Keeper interface {
	// Pulled is told of every manifest that a client is answered with. It does no I/O.
	Pulled(repo string, d digest.Digest)
	// Room tells whether so many bytes more may be kept now; -1: some.
	Room(size int64) bool
	// Kept is told of a blob that was kept.
	Kept(repo string, size int64)
}

// everything is the Keeper of a mirror that has none.
type everything struct{}

func (everything) Pulled(string, digest.Digest) {}
func (everything) Room(int64) bool              { return true }
func (everything) Kept(string, int64)           {}

// roomEvery is how many bytes of a download are kept between two looks at the disk.
const roomEvery = 4 << 20

// errNoRoom is why a download is not kept though the disk would take it.
var errNoRoom = &diskError{fmt.Errorf("%w: less is free than mirrors must leave", bucket.ErrNoSpace)}

// Pulled implements Keeper. A pull marks the manifest that was asked for. That is
// enough: who pulls an image asks for its index first, and an index counts as pulled
// when one of its platforms is. Blobs are marked by nobody, as one may belong to many
// images; who asks for blobs alone has asked for their manifest before.
func (e *Evictor) Pulled(repo string, d digest.Digest) { e.Pulls.Mark(repo, d, "") }

// Room implements Keeper. When little is free, eviction begins, and downloads are kept
// meanwhile down to half of what should be free; when that half is used too, or
// nothing is left to evict, mirrors keep no more.
func (e *Evictor) Room(size int64) bool {
	free, total, err := e.Disk.Space()
	if err != nil {
		return true // not known; a full disk is seen by who writes
	}
	e.mu.Lock()
	var least int64
	if e.settings != nil {
		least = e.settings.MinFree.Of(total)
	}
	full := e.full
	e.mu.Unlock()
	free -= max(size, 0)
	if free >= least {
		return true
	}
	e.poke()
	return !full && free >= least/2
}

// Kept implements Keeper.
func (e *Evictor) Kept(repo string, size int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil || e.settings == nil {
		return // the first pass is about to count it
	}
	name := mirrorOf(repo)
	e.held[name] += size
	if most := e.settings.limits(name).MaxSize; most > 0 && e.held[name] > most {
		e.poke()
	}
}

var _ Keeper = (*Evictor)(nil)
