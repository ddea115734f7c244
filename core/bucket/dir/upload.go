package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// maxUploadID is the maximum length of an ID, in bytes.
	maxUploadID = 64
	// copyBuffer is how much is read and written at once: few system calls, and
	// little memory for many uploads. Writes end where a multiple of it does, so that
	// the page cache has the file in large folios: a file written in pieces as they come from a
	// connection costs a fifth more CPU whenever the blob is sent.
	copyBuffer = 256 << 10
	// writebackStep is how many bytes are taken before the kernel is asked to write
	// them to the disk: the sync that follows a large upload then finds little left.
	// Smaller uploads end before that would help.
	writebackStep = 8 << 20
)

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// openUploads has the uploads that are in use, so that all their holders share one.
type openUploads struct {
	mu   sync.Mutex // guards open and every upload's holders
	open map[string]*upload
}

func (u *openUploads) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, up := range u.open {
		up.f.Close()
		delete(u.open, id)
	}
}

// upload is a file in uploads/. Nothing of it is synced before it is committed.
type upload struct {
	b       *Bucket
	id      string
	holders int

	mu      sync.Mutex // guards the rest
	f       *os.File
	size    int64
	written int64 // writeback was begun up to here
	ended   bool
}

var _ bucket.Upload = (*handle)(nil)

// handle is one holder's view: closing it twice counts once.
type handle struct {
	*upload
	once sync.Once
}

// NewUpload implements bucket.Bucket.
func (b *Bucket) NewUpload(ctx context.Context) (bucket.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text())
	f, err := b.folders.OpenFile(uploadsDir+"/"+id, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, writeError("begin upload", id, err)
	}
	u := &upload{b: b, id: id, f: f, holders: 1}
	b.uploads.mu.Lock()
	defer b.uploads.mu.Unlock()
	b.uploads.open[id] = u
	return &handle{upload: u}, nil
}

// Upload implements bucket.Bucket.
func (b *Bucket) Upload(ctx context.Context, id string) (bucket.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !validID(id) {
		return nil, fmt.Errorf("upload: %w", bucket.ErrNotExist)
	}
	b.uploads.mu.Lock()
	defer b.uploads.mu.Unlock()
	if u := b.uploads.open[id]; u != nil {
		u.holders++
		return &handle{upload: u}, nil
	}
	f, err := b.folders.OpenFile(uploadsDir+"/"+id, os.O_RDWR)
	if err != nil {
		return nil, readError("upload", id, err)
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, readError("upload", id, err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		// A power cut kept this name although the file became an object: an append would change
		// the object.
		f.Close()
		b.folders.Remove(uploadsDir + "/" + id)
		return nil, fmt.Errorf("upload %s: %w", id, bucket.ErrNotExist)
	}
	u := &upload{b: b, id: id, f: f, size: fi.Size(), holders: 1}
	b.uploads.open[id] = u
	return &handle{upload: u}, nil
}

// Uploads implements bucket.Bucket.
func (b *Bucket) Uploads(ctx context.Context) iter.Seq2[bucket.UploadInfo, error] {
	return func(yield func(bucket.UploadInfo, error) bool) {
		entries, err := b.readDir(uploadsDir)
		if err != nil {
			yield(bucket.UploadInfo{}, fmt.Errorf("list uploads: %w", err))
			return
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				yield(bucket.UploadInfo{}, err)
				return
			}
			fi, err := entry.Info()
			if absent(err) || !validID(entry.Name()) {
				continue
			}
			if err != nil {
				yield(bucket.UploadInfo{}, fmt.Errorf("list uploads: %w", err))
				return
			}
			if !yield(bucket.UploadInfo{ID: entry.Name(), Size: fi.Size(), Time: fi.ModTime()}, nil) {
				return
			}
		}
	}
}

func (u *upload) ID() string { return u.id }

func (u *upload) Offset() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.size
}

// Append implements bucket.Upload.
func (u *upload) Append(ctx context.Context, r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	var kept int64
	for {
		if err := ctx.Err(); err != nil {
			return kept, err
		}
		n, readErr := fill((*buf)[:copyBuffer-u.Offset()%copyBuffer], r)
		if n > 0 {
			written, err := u.write((*buf)[:n])
			kept += int64(written)
			if err != nil {
				return kept, err
			}
		}
		if readErr == io.EOF {
			return kept, nil
		}
		if readErr != nil {
			return kept, readErr
		}
	}
}

// fill reads until p is full or r ends. The error is r's own.
func fill(p []byte, r io.Reader) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// write adds bytes at the end. The lock is not held while a client is slow.
func (u *upload) write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return 0, u.missing()
	}
	n, err := u.f.WriteAt(p, u.size)
	u.size += int64(n)
	if err != nil {
		return n, writeError("append to upload", u.id, err)
	}
	if fresh := u.size - u.written; fresh >= writebackStep {
		startWriteback(u.f, u.written, fresh)
		u.written = u.size
	}
	return n, nil
}

// FollowUpload implements bucket.FollowUpload.
func (b *Bucket) FollowUpload(ctx context.Context, id string) (bucket.UploadReader, error) {
	u, err := b.Upload(ctx, id)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	return u.(*handle).reader()
}

// reader opens the upload's file again: Abort closes the upload's own descriptor, and Commit
// passes it to the sync of the object.
func (u *upload) reader() (bucket.UploadReader, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return nil, u.missing()
	}
	f, err := u.b.folders.OpenFile(uploadsDir+"/"+u.id, os.O_RDONLY)
	if err != nil {
		return nil, readError("read upload", u.id, err)
	}
	return f, nil
}

// Abort implements bucket.Upload.
func (u *upload) Abort(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return u.missing()
	}
	return u.end(true)
}

// end removes the upload, and with drop also its file. u.mu is held.
func (u *upload) end(drop bool) error {
	u.ended = true
	u.b.uploads.mu.Lock()
	delete(u.b.uploads.open, u.id)
	u.b.uploads.mu.Unlock()
	if !drop {
		return nil
	}
	u.f.Close()
	if err := u.b.folders.Remove(uploadsDir + "/" + u.id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop upload %s: %w", u.id, err)
	}
	return nil
}

// Close implements bucket.Upload.
func (h *handle) Close() error {
	var err error
	h.once.Do(func() { err = h.release() })
	return err
}

// release closes the file with its last holder.
func (u *upload) release() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.b.uploads.mu.Lock()
	defer u.b.uploads.mu.Unlock()
	u.holders--
	if u.holders > 0 || u.ended || u.b.uploads.open[u.id] != u {
		return nil
	}
	u.ended = true
	delete(u.b.uploads.open, u.id)
	return u.f.Close()
}

func (u *upload) missing() error {
	return fmt.Errorf("upload %s: %w", u.id, bucket.ErrNotExist)
}

// validID reports whether NewUpload can have made the ID; other files are not ours.
func validID(id string) bool {
	if id == "" || len(id) > maxUploadID {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
