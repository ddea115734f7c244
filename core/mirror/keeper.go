package mirror

import "github.com/opencontainers/go-digest"

// Keeper decides what a mirror keeps: an evict.Evictor.
type Keeper interface {
	// Pulled records that a manifest was served to a client, by tag if that is not empty, of the user by;
	// empty: anonymous. It does no I/O.
	Pulled(repo string, d digest.Digest, tag, by string)
	// Room reports whether size more bytes may be kept now; -1: an unknown number.
	Room(size int64) bool
	// Kept records that a blob was kept.
	Kept(repo string, size int64)
}

// everything is the Keeper of a mirror that has none.
type everything struct{}

func (everything) Pulled(string, digest.Digest, string, string) {}
func (everything) Room(int64) bool                              { return true }
func (everything) Kept(string, int64)                           {}
