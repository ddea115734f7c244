// Package bucket is the object space under a store: flat keys, whole objects,
// conditional writes and resumable uploads. It knows nothing of registries. dir/ keeps
// it on a local disk; an S3 bucket can keep the same promises with conditional requests,
// so nothing above relies on a path. What only some buckets can do is an ability, an
// interface of its own that is found by type assertion: DeleteIfMatch, OpenAfterDelete,
// FollowUpload, Barrier, Rename.
//
// Visible and durable are two things here. A write is visible to every reader when
// the call returns. Where the bucket has a Barrier, it survives a power cut when a Sync
// that names its key has returned without error, and not before; elsewhere it is durable
// when the call returns. What was never synced may be gone after
// a power cut, but it is never there in part: an object is absent, old, or whole.
// A killed process loses nothing that was visible.
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
// directory-like prefix of another ("a" and "a/b" are not both objects): its users'
// layouts see to that.
//
// All methods are safe for concurrent use.
type Bucket interface {
	// Get reads a small object (a record, a manifest) whole.
	// Errors: ErrNotExist.
	Get(ctx context.Context, key string) ([]byte, Info, error)
	// Stat describes an object. Errors: ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)
	// Open reads an object of any size. The caller closes it. What becomes of it when
	// it is deleted meanwhile: see OpenAfterDelete. Errors: ErrNotExist.
	Open(ctx context.Context, key string) (Object, error)
	// Put writes a small object whole, atomically. The data must not be changed
	// until it returns. Errors: ErrExist and ErrChanged by condition, ErrNoSpace.
	Put(ctx context.Context, key string, data []byte, cond Condition) (Info, error)
	// Delete removes an object. Errors: ErrNotExist.
	Delete(ctx context.Context, key string) error
	// List yields the objects whose keys begin with prefix and are greater than
	// after, in byte order of the whole key. An object written or deleted
	// meanwhile may or may not be seen. Errors: ErrKeyInvalid for a prefix that
	// begins no key.
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
	// Time is when the object was last written, of a precision that the disk has;
	// that of an object that is empty or Alike may be a second early.
	Time time.Time
	// Version changes with every write of the key that has bytes, but objects that are
	// empty or Alike may have one together. It is opaque, for IfMatch.
	Version string
}

// Condition makes a write conditional. The zero value is unconditional.
type Condition struct {
	// IfAbsent: only when there is no such object, decided atomically.
	IfAbsent bool
	// IfMatch: only when the object's Version is this.
	IfMatch string
	// Alike, with IfAbsent: other objects are made with these very bytes in the same
	// second. It changes nothing but the cost: a disk keeps them as one file with many
	// names. A write to one of them leaves the others alone.
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
	// Append writes r to the end and returns how much of it was kept, also when
	// there is an error. Errors: ErrNoSpace, and r's own.
	Append(ctx context.Context, r io.Reader) (int64, error)
	// Commit turns the upload into the object key, visible at once, and begins
	// to make it durable; Sync(key) waits for that. An object of the same size
	// that is there already stays as it is, and the upload's bytes are dropped,
	// unless its Version is damaged: its user has read it and found it wrong. An
	// object that is damaged or of another size is replaced: the upload's bytes
	// are made durable first and then take its place in one step, so that no
	// power cut leaves less than there was. An empty damaged matches no object.
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
