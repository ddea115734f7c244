package mirror

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Keeper decides what a mirror keeps: an evict.Evictor.
type Keeper interface {
	// Pulled records that a client was given a manifest. It does no I/O.
	Pulled(repo string, d digest.Digest)
	// Room reports whether so many bytes more may be kept now; -1: some.
	Room(size int64) bool
	// Kept records that a blob was kept.
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
