package core

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Deletion records what a deletion removed, as the removing step itself found it, for
// an audit. It is written before the deletion returns.
type Deletion struct {
	// Digest is the digest that a deleted tag named. It is empty if it could not be
	// read.
	Digest digest.Digest
	// Tags were deleted with a manifest.
	Tags []string
}

type deletionKey struct{}

// WithDeletion returns a context for one call of a Deleter, which records there what
// it removed. A record that ctx has already is the same: an audit and its caller read one.
func WithDeletion(ctx context.Context) (context.Context, *Deletion) {
	d := DeletionFrom(ctx)
	if d != nil {
		return ctx, d
	}
	d = new(Deletion)
	return context.WithValue(ctx, deletionKey{}, d), d
}

// DeletionFrom returns the record to fill in, or nil if the caller did not ask for
// one.
func DeletionFrom(ctx context.Context) *Deletion {
	d, _ := ctx.Value(deletionKey{}).(*Deletion)
	return d
}

// Expected is what was found when a deletion was decided upon. If the deleting step finds
// something else, it removes nothing and returns ErrChanged.
type Expected struct {
	// Digest is what the tag names that is deleted.
	Digest digest.Digest
	// Tags are all tags of the manifest that is deleted, in byte order.
	Tags []string
	// Users are manifests of the repository that may name it. nil: any may.
	Users []digest.Digest
}

type expectedKey struct{}

// WithExpected returns a context for one call of a Deleter. DeleteTag looks at Digest, and
// DeleteManifest at the rest.
func WithExpected(ctx context.Context, expected Expected) context.Context {
	return context.WithValue(ctx, expectedKey{}, expected)
}

// ExpectedFrom returns what the caller expects to find, and false if it did not say.
func ExpectedFrom(ctx context.Context) (Expected, bool) {
	expected, ok := ctx.Value(expectedKey{}).(Expected)
	return expected, ok
}
