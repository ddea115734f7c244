// Package bucket is the object space under a store: flat keys, whole objects,
// conditional writes and resumable uploads. It knows nothing about registries. dir/ implements
// it on a local disk; an S3 bucket can keep the same promises with conditional requests, so no
// user relies on a path. Features of only some buckets are abilities, separate interfaces that
// are found by type assertion: DeleteIfMatch, OpenAfterDelete, FollowUpload, Barrier, Rename, Adopt.
//
// Visible and durable are different here. A write is visible to every reader when
// the call returns. Where the bucket has a Barrier, it survives a power cut when a Sync
// that names its key has returned without error, and not before; elsewhere it is durable
// when the call returns. A write that was never synced may be lost in a power cut, but it is
// never there in part: an object is absent, old, or whole. When the process is killed, no
// visible write is lost.
package bucket

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Bucket is an ordered object space. Keys are slash-separated components of
// [A-Za-z0-9._:+=@-], each 1 to 255 bytes (203 if it has capitals), none "." or
// ".."; keys that differ only in case are different objects. No key is a
// directory-like prefix of another ("a" and "a/b" are not both objects): the layouts of its
// users ensure this.
//
// All methods are safe for concurrent use.
type Bucket interface {
	// Get reads a small object (a record, a manifest) whole.
	// Errors: ErrNotExist.
	Get(ctx context.Context, key string) ([]byte, Info, error)
	// Stat describes an object. Errors: ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)
	// Open reads an object of any size. The caller closes it. See OpenAfterDelete for an object
	// that is deleted meanwhile. Errors: ErrNotExist.
	Open(ctx context.Context, key string) (Object, error)
	// Put writes a small object whole, atomically. The caller must not change the data until it
	// returns. Errors: ErrExist and ErrChanged by condition, ErrNoSpace.
	Put(ctx context.Context, key string, data []byte, cond Condition) (Info, error)
	// Delete removes an object. Errors: ErrNotExist.
	Delete(ctx context.Context, key string) error
	// List yields the objects whose keys begin with prefix and are greater than
	// after, in byte order of the whole key. An object written or deleted
	// meanwhile may or may not be seen. Errors: ErrKeyInvalid for a prefix that no key can
	// have.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// NewUpload begins an object of unknown size. Errors: ErrNoSpace.
	NewUpload(ctx context.Context) (Upload, error)
	// Upload finds an upload again, also after a restart. While an Upload of
	// that ID is open in this process, the same one is returned.
	// Errors: ErrNotExist.
	Upload(ctx context.Context, id string) (Upload, error)
	// Uploads yields every unfinished upload with the time of its last append.
	Uploads(ctx context.Context) iter.Seq2[UploadInfo, error]
	// Close makes everything durable and releases the bucket.
	Close() error
}

// Info describes an object.
type Info struct {
	Key  string
	Size int64 // bytes
	// Time is when the object was last written, with the precision of the disk. For an object
	// that is empty or Alike it may be a second early.
	Time time.Time
	// Version changes with every write of the key that has bytes, but objects that are empty or
	// Alike may share one. It is opaque, for IfMatch.
	Version string
}

// Condition makes a write conditional. The zero value is unconditional.
type Condition struct {
	// IfAbsent: only when there is no such object, decided atomically.
	IfAbsent bool
	// IfMatch: only when the object's Version is this.
	IfMatch string
	// Alike, with IfAbsent: other objects with the same bytes are made in the same second. It
	// affects only the cost: a disk keeps them as one file with many names. A write to one of
	// them does not change the others.
	Alike bool
}

// Object is an open object.
type Object interface {
	io.ReadSeekCloser
	io.ReaderAt
	Info() Info
}

// Upload is an object on its way in. One goroutine at a time appends; the caller
// arranges that. Close keeps the bytes; Commit and Abort end the upload.
type Upload interface {
	ID() string
	// Offset is the number of bytes held.
	Offset() int64
	// Append writes r to the end and returns the number of bytes that were kept, also with an
	// error. Errors: ErrNoSpace, and r's own.
	Append(ctx context.Context, r io.Reader) (int64, error)
	// Commit turns the upload into the object key, visible at once, and begins
	// to make it durable; Sync(key) waits for that. An existing object of the same size is
	// kept, and the upload's bytes are dropped, unless its Version is damaged: then the caller
	// has read it and found it wrong. An object that is damaged or of another size is replaced:
	// the upload's bytes are made durable first and then replace it in one step, so that a
	// power cut leaves either the old or the new object. An empty damaged matches no object.
	Commit(ctx context.Context, key, damaged string) (Info, error)
	// Abort drops the bytes.
	Abort(ctx context.Context) error
	Close() error
}

// UploadInfo describes an unfinished upload.
type UploadInfo struct {
	ID   string
	Size int64 // bytes held
	Time time.Time
}

// The conditions that a Bucket reports, wrapped with the key.
var (
	ErrNotExist   = errors.New("object does not exist")
	ErrExist      = errors.New("object exists")
	ErrChanged    = errors.New("object was changed by another writer")
	ErrNoSpace    = errors.New("no space left")
	ErrSync       = errors.New("sync failed, the object was dropped")
	ErrKeyInvalid = errors.New("invalid key")
)
