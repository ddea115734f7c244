package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/eblume/caddy-registry/core"
)

// Follower is one reader of a download. It reads what is held, from the growing file
// or from memory, without the last byte until the whole is verified. It reads at its own speed.
type Follower struct {
	ctx    context.Context
	repo   string
	d      *download
	offset int64
	leave  func() // once
	until  int64  // where it ends reading; 0: not known
	wished span   // what it waits for; guarded by d.mu

	alone *verified // after the disk took no more
}

// follow adds a reader. downloads.mu is held.
func (d *download) follow(ctx context.Context, repo string) *Follower {
	d.readers++
	core.SpanFrom(ctx).Link(d.span)
	d.mu.Lock()
	d.users++
	d.mu.Unlock()
	f := &Follower{ctx: ctx, repo: repo, d: d}
	f.leave = sync.OnceFunc(func() {
		d.unwish(f)
		d.release()
		d.all.leave(d)
	})
	return f
}

// Open waits for the upstream's answer, and is the blob then: a Seeker if its size is known. A
// download that is being stopped may return an error. After an error the Follower is closed.
// Errors: those for which Again is true; those of Source.
func (f *Follower) Open() (core.Blob, error) {
	d := f.d
	s, err := d.await(f.ctx, func() bool {
		return d.state > growing || d.state == growing && d.ctx.Err() == nil
	})
	if err == nil && s == unkept {
		if err = f.goAlone(); err == nil {
			err = f.alone.body.open(f.ctx)
		}
		if err != nil {
			err = f.d.config.Source.Failed(err)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if f.Descriptor().Size < 0 {
		return f, nil
	}
	return &seeker{f}, nil
}

// await returns when ready returns true, with the download's state. Errors: the failure of the
// download, or the cause of ctx.
func (d *download) await(ctx context.Context, ready func() bool) (state, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ready() {
		return d.state, d.err
	}
	defer context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.changed.Broadcast()
	})()
	for !ready() {
		if ctx.Err() != nil {
			return d.state, context.Cause(ctx)
		}
		d.changed.Wait()
	}
	return d.state, d.err
}

// readable returns the end of the bytes that may be read from offset on, or offset. It excludes
// the last missing byte of the blob until the digest is verified, so that no reader can get a
// whole blob with a wrong digest. d.mu is held.
func (d *download) readable(offset int64) int64 {
	switch {
	case d.state == whole:
		return d.size
	case d.size < 0:
		return max(0, d.held-1)
	}
	end := d.held
	if offset >= end {
		end = d.ahead.have.end(offset)
	}
	if d.sealed && offset <= d.last && d.last < end {
		return d.last
	}
	return end
}

// Descriptor implements core.Blob.
func (f *Follower) Descriptor() core.Descriptor {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	size := f.d.size
	if f.alone != nil {
		size = f.alone.body.size
	}
	return core.Descriptor{MediaType: "application/octet-stream", Digest: f.d.digest, Size: size}
}

// Ready reports whether there is a byte to read, or never will be. See core.Blob.
func (f *Follower) Ready() bool {
	if f.alone != nil {
		return false
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.state > growing || f.d.readable(f.offset) > f.offset
}

// Read implements core.Blob. It returns as soon as there is a byte.
func (f *Follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := 0, errMoved
	for n == 0 && errors.Is(err, errMoved) {
		end, ended := f.readable()
		if ended != nil {
			return 0, ended
		}
		if f.alone != nil {
			n, err := f.alone.Read(p)
			f.offset += int64(n)
			return n, err
		}
		n, err = f.d.ReadAt(p[:min(int64(len(p)), end-f.offset)], f.offset)
	}
	f.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("read %s: %w", f.d.digest, errors.Join(err, io.ErrUnexpectedEOF))
}

// WriteTo implements io.WriterTo: it writes the same bytes as Read returns, without copying those
// in memory. The first piece is small, and the next follows when the other waiting readers have
// their own first piece.
func (f *Follower) WriteTo(w io.Writer) (sum int64, err error) {
	for {
		end, err := f.readable()
		if err == io.EOF {
			return sum, nil
		} else if err != nil {
			return sum, err
		}
		if f.alone != nil {
			n, err := io.Copy(w, struct{ io.Reader }{f})
			return sum + n, err
		}
		first := sum == 0
		if first {
			end = min(end, f.offset+firstPiece)
		}
		n, err := f.d.give(w, f.offset, end)
		f.offset += int64(n)
		sum += int64(n)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return sum, err
		}
		if first {
			runtime.Gosched()
		}
	}
}

// readable returns when there is something to read, with the end of the held bytes, or after the
// reader has left the download to continue alone. Errors: io.EOF at the end; the failure that
// ended the bytes.
func (f *Follower) readable() (end int64, err error) {
	if f.alone != nil {
		return 0, nil
	}
	d := f.d
	s, err := d.await(f.ctx, func() bool {
		end = d.readable(f.offset)
		// A reader of the blob's end may have it while the rest is still missing: its answer is
		// over then, and the connection is free for the next one.
		if d.state > growing || end > f.offset || d.size > 0 && f.offset >= d.size {
			return true
		}
		d.wish(f)
		return false
	})
	switch {
	case err != nil:
	case f.ctx.Err() != nil:
		err = context.Cause(f.ctx)
	case s == unkept:
		err = f.goAlone()
	case f.offset >= end:
		err = io.EOF
	}
	return end, err
}

// goAlone leaves the download, which cannot grow any more, and continues from the upstream at its
// own offset. The bytes read before are hashed again, for the digest of the whole.
func (f *Follower) goAlone() error {
	v := newVerified(f.ctx, newStream(f.d.config, f.repo, f.d.digest))
	f.d.mu.Lock()
	held, size := f.d.held, f.d.size
	f.d.mu.Unlock()
	if size >= 0 {
		v.body.size = size
	}
	from := min(f.offset, held)
	if err := v.skip(f.d, from); err != nil {
		return fmt.Errorf("read %s: %w", f.d.digest, err)
	}
	f.leave()
	f.alone = v
	if _, err := io.CopyN(io.Discard, v, f.offset-from); err != nil {
		return f.d.config.Source.Failed(err)
	}
	return nil
}

// Close implements core.Blob. The download continues.
func (f *Follower) Close() error {
	f.leave()
	if f.alone != nil {
		return f.alone.Close()
	}
	return nil
}

// seeker is a follower whose size is known.
type seeker struct{ *Follower }

var _ io.Seeker = (*seeker)(nil)

// Seek implements io.Seeker. Beyond the held bytes, the next Read waits.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.Descriptor().Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the first byte")
	}
	if s.alone != nil && offset != s.offset {
		// The file may be gone, and the digest needs every byte from the first.
		size := s.Descriptor().Size
		s.alone.Close()
		s.alone = newVerified(s.ctx, newStream(s.d.config, s.repo, s.d.digest))
		s.alone.body.size = size
		if _, err := io.CopyN(io.Discard, s.alone, min(offset, size)); err != nil {
			return 0, s.d.config.Source.Failed(err)
		}
	}
	s.offset = offset
	return offset, nil
}
