package bucket

import (
	"context"
	"io"
)

// The abilities below are what a local disk gives for nothing and what an object
// store over a network does not have, or has only at a price. A Bucket that has one
// implements its interface, and its users find it by type assertion alone. A user that
// cannot do without says so when it is opened.

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

// FollowUpload is the ability to read an upload while it grows: for the digest after
// a restart, and for whoever follows a download.
type FollowUpload interface {
	// FollowUpload reads the bytes that an upload holds, also those that are appended
	// later. The reader may be used by many at once and stays readable after Commit and
	// Abort; behind the last byte held it says io.EOF. The caller closes it.
	// Errors: ErrNotExist.
	FollowUpload(ctx context.Context, id string) (UploadReader, error)
}

// UploadReader reads an upload while it grows.
type UploadReader interface {
	io.ReaderAt
	io.Closer
}

// Scratch is the ability to lend room on the bucket's disk.
type Scratch interface {
	// Scratch makes an empty file that no key reaches. Its content ends with Close, or with the
	// process. Errors: ErrNoSpace.
	Scratch() (ScratchFile, error)
}

// ScratchFile is read and written at any offset, by many at once. Writes beyond the end leave a
// hole, which takes no room.
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
	// is removed and is gone for everybody, and every Sync of it fails until the
	// write is made again. An object that replaced another is kept instead: what
	// was acknowledged before must not go, so either of the two may be found. A
	// failed sync is never tried again on the same file, because the kernel
	// reports success the second time.
	// Errors: ErrSync, with the key.
	Sync(ctx context.Context, keys ...string) error
}

// Rename is the ability to give an object another key without copying it.
type Rename interface {
	// Rename makes the object at key the object at to, which is another key, if its
	// Version is version, decided atomically. An object that is at to is replaced. The
	// object is always at one of the two, and is never gone. Its Time becomes that of the
	// rename, unless it is Alike. After a Sync of both keys that is durable.
	// Errors: ErrChanged, also when there is no such object; ErrNoSpace.
	Rename(ctx context.Context, key, version, to string) error
}

// Sync returns when the present state of the keys is durable: at once, unless b has a
// Barrier. Errors: those of Barrier.
func Sync(ctx context.Context, b Bucket, keys ...string) error {
	if barrier, ok := b.(Barrier); ok {
		return barrier.Sync(ctx, keys...)
	}
	return nil
}
