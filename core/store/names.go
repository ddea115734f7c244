package store

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"
)

// Names store the repositories, and what their tags name, in the order in which lists need them.
// They are a projection of the bucket and never authoritative: the store finds lost rows by a
// scan of the bucket. core/index implements them; coretest.Names is their contract as a test. The
// methods are safe for concurrent use.
//
// Errors of all methods: ErrDamaged, when the stored rows are not as they were written, and those
// of the disk. Names that return ErrDamaged have reported it and are not Ready any more. After
// another error of a write or of a walk, the store calls Distrust.
type Names interface {
	// Repositories yields the repositories that hold a manifest. It and the other lists yield the
	// rows after the given name, which need not exist, in byte order, and an error last. A row
	// that is written or deleted during a walk may be in it or not; a consumer may write while it
	// walks, and may stop at any row.
	Repositories(after string) iter.Seq2[string, error]
	// Tags yields the tags of a repository, also if that holds no manifest.
	Tags(repo, after string) iter.Seq2[Tag, error]
	// Manifests yields the digests of the manifests that a repository holds.
	Manifests(repo string) iter.Seq2[digest.Digest, error]
	// HasRepository reports whether a repository holds a manifest.
	HasRepository(repo string) (bool, error)

	// PutManifest notes that a repository holds a manifest. The store writes to the names after
	// each change of the bucket. Putting a row again replaces it, and deleting a missing row is
	// not an error.
	PutManifest(repo string, d digest.Digest) error
	// PutTag notes what a tag names. An empty d means that its record could not be read.
	PutTag(repo, tag string, d digest.Digest) error
	// DeleteManifest notes that a repository holds a manifest no more.
	DeleteManifest(repo string, d digest.Digest) error
	// DeleteTag notes that a tag is gone.
	DeleteTag(repo, tag string) error

	// Ready reports whether everything is listed. New names are not Ready.
	Ready() bool
	// Distrust makes the names not Ready until the next Rebuild that begins after it.
	Distrust()
	// Rebuild replaces all rows by those of scan, a walk over the whole bucket, and makes the
	// names Ready. Writes may happen at the same time, also while scan is running: they take
	// precedence over the rows of scan. If scan or ctx ends it, its error is returned and the
	// names are not Ready. It also fails if Distrust is called meanwhile: scan may be past the
	// row that a write failed to record. The store makes one call at a time.
	Rebuild(ctx context.Context, scan iter.Seq2[NameRow, error]) error
	// Close ends the names. No other method is called after it.
	Close() error
}

// Tag is a tag and what it names, which is empty if that could not be read.
type Tag struct {
	Name   string
	Digest digest.Digest
}

// NameRow is one row that a scan of the bucket found: a tag if Tag is set, else a manifest. A
// tag without a digest exists, but its record could not be read.
type NameRow struct {
	Repo   string
	Tag    string
	Digest digest.Digest
}
