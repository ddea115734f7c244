package dir

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
)

// Object is an open file. It stays readable when the file is unlinked.
type Object struct {
	f    *os.File
	info bucket.Info
}

var _ bucket.Object = (*Object)(nil)

// File returns the file for callers that hand it to the kernel (sendfile). It is closed with
// the object. Callers must not write to it.
func (o *Object) File() *os.File { return o.f }

// Info implements bucket.Object.
func (o *Object) Info() bucket.Info { return o.info }

func (o *Object) Read(p []byte) (int, error)                { return o.f.Read(p) }
func (o *Object) ReadAt(p []byte, off int64) (int, error)   { return o.f.ReadAt(p, off) }
func (o *Object) Seek(off int64, whence int) (int64, error) { return o.f.Seek(off, whence) }
func (o *Object) Close() error                              { return o.f.Close() }

// OpenAfterDelete implements bucket.OpenAfterDelete: an unlinked file that is open stays.
func (b *Bucket) OpenAfterDelete() {}

// Get implements bucket.Bucket.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, bucket.Info, error) {
	o, err := b.open(ctx, key)
	if err != nil {
		return nil, bucket.Info{}, err
	}
	defer o.Close()
	data := make([]byte, o.info.Size)
	if _, err := io.ReadFull(o.f, data); err != nil {
		return nil, bucket.Info{}, fmt.Errorf("read %s: %w", key, err)
	}
	return data, o.info, nil
}

// Open implements bucket.Bucket. The object is an *Object.
func (b *Bucket) Open(ctx context.Context, key string) (bucket.Object, error) {
	o, err := b.open(ctx, key)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// Stat implements bucket.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	path, err := objectPath(key)
	if err != nil {
		return bucket.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return bucket.Info{}, err
	}
	return b.stat(key, path)
}

// stat describes a pending object, else the file at path.
func (b *Bucket) stat(key, path string) (bucket.Info, error) {
	if p := b.overlay.get(key); p != nil {
		return p.info, nil
	}
	s, err := b.folders.Lstat(path)
	if err != nil || !s.Regular {
		return bucket.Info{}, readError("stat", key, err)
	}
	return describe(key, s), nil
}

func (b *Bucket) open(ctx context.Context, key string) (*Object, error) {
	path, err := objectPath(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p := b.overlay.get(key); p != nil {
		f, err := b.folders.OpenFile(p.file, os.O_RDONLY)
		if err == nil {
			return &Object{f, p.info}, nil
		}
		if !absent(err) {
			return nil, readError("open", key, err)
		}
		// Published in the meantime: it is in objects/ now.
	}
	f, err := b.folders.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil, readError("open", key, err)
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, readError("open", key, err)
	}
	return &Object{f, describe(key, folders.StatusOf(fi))}, nil
}

// readError adds the key to an error. A path that is not a file is not an object.
func readError(verb, key string, err error) error {
	if err == nil || absent(err) {
		return fmt.Errorf("%s %s: %w", verb, key, bucket.ErrNotExist)
	}
	return fmt.Errorf("%s %s: %w", verb, key, err)
}

// describe makes the Info of a file. The version is the inode and the stamp that
// the writer gave it (see Storage.stamp). A file that was adopted has the modification time that
// somebody else gave it, perhaps years ago, so that of its inode counts.
func describe(key string, s folders.Status) bucket.Info {
	version := strconv.AppendInt(make([]byte, 0, 32), s.Time.UnixMicro(), 36)
	version = append(version, '-')
	version = strconv.AppendUint(version, s.Inode, 36)
	at := s.Time
	if s.Names > 1 && s.Size > alikeBytes && s.Changed.After(at) {
		at = s.Changed
	}
	return bucket.Info{Key: key, Size: s.Size, Time: at, Version: string(version)}
}
