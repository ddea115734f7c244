package core

import "context"

// Adoption is a blob whose digest was checked, and whose bytes a store shares with a file that
// somebody else has written. It is used by one goroutine at a time.
type Adoption interface {
	// Commit makes the blob readable in a repository, as Upload.Commit does: adopted is false if
	// the store had its bytes already. It may be called again, as when the collector has removed the
	// blob. Errors: ErrDigestInvalid when the file was changed since its digest was checked.
	Commit(ctx context.Context, repo string) (desc Descriptor, adopted bool, err error)
	// Cloned reports whether later changes of the file leave the blob as it is.
	Cloned() bool
	// Close releases what the adoption holds. What was committed stays.
	Close() error
}
