package mirror

import "github.com/opencontainers/go-digest"

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
