package bucket

import (
	"context"
	"io"
	"os"
)

// The abilities below are free on a local disk. An object store over a network does not have
// them, or has them only at a price. A Bucket with an ability implements its interface, and its
// users find it only by type assertion. A user that requires an ability reports its absence
// when it is opened.

// DeleteIfMatch is the ability to remove one version of an object. Object stores evaluate
// a conditional DELETE outside of their locks, or ignore the condition.
type DeleteIfMatch interface {
	// DeleteIfMatch removes an object if its Version is version, decided atomically.
	// Errors: ErrChanged, also when there is no such object.
	DeleteIfMatch(ctx context.Context, key, version string) error
}

// OpenAfterDelete is the promise that an open Object stays readable to its end when it
// is deleted or replaced. Without it such a read ends in an error, never early and as if
// it were whole.
type OpenAfterDelete interface {
	// OpenAfterDelete does nothing.
	OpenAfterDelete()
}

// FollowUpload is the ability to read an upload while it grows: for the digest after a restart,
// and for readers that follow a download.
type FollowUpload interface {
	// FollowUpload reads the bytes that an upload holds, including those that are appended
	// later. The reader is safe for concurrent use and stays readable after Commit and Abort;
	// after the last byte it returns io.EOF. The caller closes it. Errors: ErrNotExist.
	FollowUpload(ctx context.Context, id string) (UploadReader, error)
}

// UploadReader reads an upload while it grows.
type UploadReader interface {
	io.ReaderAt
	io.Closer
}

// Scratch is the ability to provide temporary files on the bucket's disk.
type Scratch interface {
	// Scratch makes an empty file without a key. Its content is gone after Close, or when the
	// process ends. Errors: ErrNoSpace.
	Scratch() (ScratchFile, error)
}

// ScratchFile is read and written at any offset and is safe for concurrent use. Writes beyond
// the end leave a hole, which takes no space.
type ScratchFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Barrier is the ability of a Bucket whose writes are visible before they are durable.
// A write to any other Bucket is durable when it returns. See Sync.
type Barrier interface {
	// Sync returns when the present state of every key (its content, or its absence)
	// is durable. Concurrent calls share their work.
	// If it fails for an object created since the bucket was opened, that object
	// is removed for all readers, and every Sync of it fails until the object is written again.
	// An object that replaced another is kept instead: the acknowledged one must not be lost,
	// so either of the two may be found. A failed sync is never retried on the same file,
	// because the kernel reports success the second time. Errors: ErrSync, with the key.
	Sync(ctx context.Context, keys ...string) error
}

// Rename is the ability to give an object another key without copying it.
type Rename interface {
	// Rename makes the object at key the object at to, which is another key, if its
	// Version is version, decided atomically. An object at to is replaced. The
	// object is always at one of the two, and is never gone. Its Time becomes that of the
	// rename, unless it is Alike. The rename is durable after a Sync of both keys.
	// Errors: ErrChanged, also when there is no such object; ErrNoSpace.
	Rename(ctx context.Context, key, version, to string) error
}

// Adopt is the ability to make a file that somebody else has written an object, without copying
// its bytes: as a clone, which shares its blocks, or else as one more name of the same file. That
// file must not be written to any more. Neither its bytes nor its mode nor its modification time
// are changed, also when the object is renamed, replaced or deleted.
type Adopt interface {
	// Adopt takes an open regular file. Nothing is visible before Commit. Errors:
	// errors.ErrUnsupported when the file cannot be shared, as on another file system. Then the
	// caller copies it.
	Adopt(ctx context.Context, f *os.File) (Adoption, error)
}

// Adoption is a file on its way to becoming an object. It is used by one goroutine at a time.
type Adoption interface {
	// Open reads the bytes that the object will have. The caller closes it.
	Open() (io.ReadCloser, error)
	// Cloned reports whether the bytes can be changed only through the object. Otherwise the
	// object is another name of the file.
	Cloned() bool
	// Commit makes it the object key, as Upload.Commit does: adopted is false if an existing
	// object was kept. It may be called again, when the object was deleted; the object may then have
	// the same Version as before. The Time of an object that shares its file with others is when the
	// file last got or lost a name. Errors: ErrChanged when the file has another size or modification
	// time than when it was adopted.
	Commit(ctx context.Context, key, damaged string) (info Info, adopted bool, err error)
	// Close releases what is not an object.
	Close() error
}

// Sync returns when the present state of the keys is durable: at once, unless b has a
// Barrier. Errors: those of Barrier.
func Sync(ctx context.Context, b Bucket, keys ...string) error {
	if barrier, ok := b.(Barrier); ok {
		return barrier.Sync(ctx, keys...)
	}
	return nil
}
