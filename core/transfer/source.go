package transfer

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrAbsent is the Source's answer for content that it does not hold.
var ErrAbsent = errors.New("not held by the source")

// Source is a registry whose images are read. It is not trusted: names and tags are checked, and
// content is compared with its digest.
//
// After an error about one repository or one image, that one is left out. All methods are safe
// for concurrent use.
type Source interface {
	// Repositories yields the names of the repositories. A pair of a name and an error
	// is a repository that cannot be read; an error without a name ends the sequence.
	Repositories(ctx context.Context) iter.Seq2[string, error]
	// Images returns the manifests in the repository's list, tagged and untagged. Platforms of an
	// index may be missing from it.
	Images(ctx context.Context, repo string) ([]Image, error)
	// Manifest returns the bytes of a manifest. Errors: ErrAbsent.
	Manifest(ctx context.Context, repo string, d digest.Digest) ([]byte, error)
	// Blob opens a blob and returns its size in bytes, or -1 if that is unknown.
	// The caller closes it. Errors: ErrAbsent.
	Blob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error)
}

// Image is one manifest of a repository, with what is known about it.
type Image struct {
	Digest digest.Digest
	// MediaType is the type according to the source; empty: the document names it.
	MediaType string
	Tags      []Tag
	// Pushed and By are when and by whom it was pushed; zero and empty: unknown.
	Pushed time.Time
	By     string
	// Pulled is when it was last pulled; zero: unknown.
	Pulled time.Time
}

// Tag names an image since a moment, which is zero if it is unknown.
type Tag struct {
	Name  string
	Since time.Time
}
