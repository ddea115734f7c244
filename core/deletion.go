package core

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Deletion is what a deletion removed, as the step that did it found it, and not as a
// look before it did: for an audit. It is written before the deletion returns.
type Deletion struct {
	// Digest is what a deleted tag named. Empty if it could not be read any more.
	Digest digest.Digest
	// Tags went with a deleted manifest.
	Tags []string
}

type deletionKey struct{}

// WithDeletion returns a context for one call of a Deleter, which tells there what it
// removed.
func WithDeletion(ctx context.Context) (context.Context, *Deletion) {
	d := new(Deletion)
	return context.WithValue(ctx, deletionKey{}, d), d
}

// DeletionFrom returns where to tell what was removed, or nil: nobody asks.
func DeletionFrom(ctx context.Context) *Deletion {
	d, _ := ctx.Value(deletionKey{}).(*Deletion)
	return d
}
