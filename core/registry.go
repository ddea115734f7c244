package core

import (
	"context"
	"io"
	"iter"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is everything a client can ask of an OCI registry, without HTTP.
// Repository names are canonical (see namespace.Resolve) and every argument has
// been validated with the parsers of this package before a method is called.
//
// Methods are safe for concurrent use. An error wraps exactly one of the values
// in errors.go; anything else is the server's own fault (status 500).
type Registry interface {
	Reader
	Writer
	Deleter
	Lister
	Catalog
}

// Descriptor is the OCI content descriptor. Size is -1 if it is not known yet.
type Descriptor = ocispec.Descriptor

// Manifest is the bytes of a manifest and their descriptor. Bytes are shared with
// the cache and must not be changed.
type Manifest struct {
	Descriptor Descriptor
	Bytes      []byte
}

// Blob is the content of a blob, read from its first byte. The caller closes it.
//
// More abilities are found by type assertion: io.Seeker (without it there are no
// ranges), FileBlob, io.WriterTo, which writes what Read would return, up to the
// end, and Ready() bool, which reports that the next Read does not wait for an
// upstream.
type Blob interface {
	io.ReadCloser
	// Descriptor has the blob's digest and its size in bytes, or size -1 if the
	// size is unknown until the end: then it is sent chunked, without ranges.
	Descriptor() Descriptor
}

// Reader serves content (spec end-2, end-3).
type Reader interface {
	// Resolve describes the manifest that ref names, without its bytes.
	// Errors: ErrNameUnknown, ErrManifestUnknown.
	Resolve(ctx context.Context, repo string, ref Reference) (Descriptor, error)
	// Manifest returns the manifest that ref names.
	// Errors: ErrNameUnknown, ErrManifestUnknown.
	Manifest(ctx context.Context, repo string, ref Reference) (Manifest, error)
	// Stat describes a blob. For a caller who may create (Access.Create) the answer
	// means "you have it": a blob that no manifest names yet gets a new grace
	// before it may be collected. Errors: ErrNameUnknown, ErrBlobUnknown.
	Stat(ctx context.Context, repo string, d digest.Digest) (Descriptor, error)
	// Blob opens a blob. ctx bounds the reading too. Errors: as Stat.
	Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error)
}

// Writer accepts content (spec end-4 to end-7, end-11, end-13, end-14).
type Writer interface {
	// PutManifest stores a manifest and then sets its tags, in order. When it
	// returns without error the manifest, everything that it names, and the
	// accepted tags survive a power cut.
	//
	// Tags that could not be set are in the result's Refused; if there were tags
	// and none was set, that is the error (and the manifest is kept, untagged).
	// Errors: ErrManifestInvalid, ErrManifestBlobUnknown (detail: the digests),
	// ErrDigestInvalid, ErrTagExists, ErrChanged, ErrTypeHeld, ErrNoSpace.
	PutManifest(ctx context.Context, repo string, put ManifestPut) (ManifestResult, error)
	// Mount makes a blob of the repository from readable in repo. An empty from
	// means any repository (the guard decides which ones the caller may read).
	// Errors: ErrBlobUnknown when no repository has it; the caller then starts an
	// ordinary upload.
	Mount(ctx context.Context, repo, from string, d digest.Digest) (Descriptor, error)
	// NewUpload starts an upload whose content will be hashed with alg.
	// Errors: ErrDigestInvalid for an algorithm that is not available, ErrNoSpace.
	NewUpload(ctx context.Context, repo string, alg digest.Algorithm) (Upload, error)
	// Upload finds an upload by its ID, also one begun before a restart.
	// Errors: ErrBlobUploadUnknown.
	Upload(ctx context.Context, repo, id string) (Upload, error)
}

// ManifestPut is one push of a manifest (spec end-7a, end-7b).
type ManifestPut struct {
	// MediaType is the Content-Type of the request, without parameters.
	MediaType string
	// Bytes are at most MaxManifestSize long and kept as they are.
	Bytes []byte
	// Digest is the digest that the client claims; empty: sha256 of Bytes.
	Digest digest.Digest
	// Tags to set, in order. Empty for a push by digest alone.
	Tags []string
	// CreateOnly refuses a tag that names another digest already. Of two
	// concurrent first pushes of one tag exactly one succeeds. A tag that names
	// this very digest is accepted. It also refuses another media type for a
	// manifest that the repository holds, because that would change what existing
	// tags name.
	CreateOnly bool
	// From, if it is set, is what the tags must name now; one that names something else, or
	// does not exist, is refused with ErrChanged. The look and the put are one step.
	From digest.Digest
	// Seen is when a mirror last saw the tags name what they named until now. Zero: not known, or
	// a push.
	Seen time.Time
	// Import is set for a manifest that is copied from another registry, and is nil for a
	// push. No request of the protocol can set it.
	Import *Import
}

// Import is what is known of a manifest that was pushed to another registry. The pusher
// is Access.Caller. A tag that names another digest is moved only if an import has
// written it last, also with CreateOnly: what people have pushed here stays.
type Import struct {
	// Pushed is when the manifest was pushed there. Zero or in the future: now. An untagged
	// manifest is kept as long as one that is pushed now.
	Pushed time.Time
	// Tagged is when the tags were set, in the order of ManifestPut.Tags. Zero, missing or
	// in the future: now.
	Tagged []time.Time
}

// ManifestResult is the outcome of a push of a manifest.
type ManifestResult struct {
	Descriptor Descriptor
	// Subject is the digest of the manifest's subject, if it has one.
	Subject digest.Digest
	// Tags were set, or named this digest already.
	Tags []string
	// Before has the digest that each of Tags named before, in their order, as the
	// step that set the tag found it. It is empty for a new tag.
	Before []digest.Digest
	// TypeBefore is the media type under which the repository held the manifest until
	// then, if the put changed it, else empty.
	TypeBefore string
	// Refused has an error for each tag that was not set.
	Refused []error
}

// Upload is a blob that is being uploaded by one client: a second writer is
// refused while the first appends. Close releases it without ending it; the
// collector removes unfinished uploads.
type Upload interface {
	// ID finds the upload again: at most 64 characters of [a-z0-9-].
	ID() string
	// Offset is the number of bytes held.
	Offset() int64
	// Append writes r at offset at; -1 means at the end of the upload. The bytes
	// that were read before an error are kept (a client resumes). Errors:
	// ErrRangeInvalid when at is not Offset or another writer is active,
	// ErrNoSpace, and r's own error.
	Append(ctx context.Context, at int64, r io.Reader) (int64, error)
	// Commit ends the upload as the blob d. The content is readable at once, and
	// durable when the first manifest that names it is acknowledged. A wrong
	// digest ends the upload. Errors: ErrDigestInvalid.
	Commit(ctx context.Context, d digest.Digest) (Descriptor, error)
	// Cancel ends the upload and drops its bytes.
	Cancel(ctx context.Context) error
	// Close releases what the upload holds in this process. It may be called
	// after Commit and Cancel.
	Close() error
}

// Deleter removes content (spec end-9, end-10). A delete is visible on the very
// next read and survives a power cut once it is acknowledged. Deleting a tag or a
// manifest fills in the context's Deletion, if there is one, and removes nothing if it
// does not find what the context expects (WithExpected). Errors of both then also: ErrChanged.
type Deleter interface {
	// DeleteTag removes a tag; the manifest stays. Errors: ErrNameUnknown,
	// ErrManifestUnknown.
	DeleteTag(ctx context.Context, repo, tag string) error
	// DeleteManifest removes a manifest and every tag that names it.
	// Errors: ErrNameUnknown, ErrManifestUnknown.
	DeleteManifest(ctx context.Context, repo string, d digest.Digest) error
	// DeleteBlob removes a blob from the repository. Errors: ErrNameUnknown,
	// ErrBlobUnknown, ErrBlobInUse when manifests of the repository name it
	// (detail: their digests).
	DeleteBlob(ctx context.Context, repo string, d digest.Digest) error
}

// Lister enumerates (spec end-8, end-12, and the catalog). Every sequence is in
// byte order and begins behind after; it ends at the first error. If names are
// left out, Repositories and Holders may end in a *Pause (see Filter), and so may
// Referrers, behind entries of another type.
type Lister interface {
	// Repositories yields the names that hold at least one manifest.
	Repositories(ctx context.Context, after string) iter.Seq2[string, error]
	// Tags yields a repository's tags. Errors: ErrNameUnknown.
	Tags(ctx context.Context, repo, after string) iter.Seq2[string, error]
	// Referrers yields the manifests whose subject is subject, by digest, with
	// artifactType and annotations; an unknown subject or repository yields
	// nothing. An empty artifactType yields all.
	Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[Descriptor, error]
	// Holders yields the repositories that hold the blob, as candidates for a
	// mount without from.
	Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error]
}

// FileBlob is a Blob that is a whole file: the server may hand the file to the
// kernel (sendfile). The file belongs to the blob and is closed with it.
type FileBlob interface {
	Blob
	File() *os.File
}
