package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eblume/caddy-registry/core"
)

// blob brings one blob into the repository, unless it exists. The source must have the whole blob
// in this repository, even if another repository here holds the same one: knowing a digest must
// never be enough to get the content. Errors also: fault, ErrAbsent; in a mirror's repository also
// errNotShown, Skip.
func (r *repository) blob(ctx context.Context, desc core.Descriptor) error {
	if held, err := r.held(ctx, desc); held || err != nil {
		return err
	}
	if err := r.attested(ctx, desc); err != nil {
		return err
	}
	if r.DryRun {
		n, err := r.check(ctx, desc)
		if err == nil {
			r.copied(n)
		}
		return err
	}
	shared, err := r.shared(ctx, desc)
	if shared || err != nil {
		return err
	}
	content, size, err := r.open(ctx, desc)
	if err != nil {
		return err
	}
	defer content.Close()
	return r.copy(ctx, desc, content, size)
}

// held reports whether the repository has the blob, and so need not get it.
func (r *repository) held(ctx context.Context, desc core.Descriptor) (bool, error) {
	held, err := r.Target.Stat(ctx, r.name, desc.Digest)
	switch {
	case err == nil:
		return desc.Size < 0 || desc.Size == held.Size, nil
	case errors.Is(err, core.ErrBlobUnknown), errors.Is(err, core.ErrNameUnknown):
		return false, nil
	}
	return false, err
}

// copy copies a blob of size bytes, or -1, from content. Errors also: fault.
func (r *repository) copy(ctx context.Context, desc core.Descriptor, content io.Reader, size int64) error {
	if err := r.Room(max(size, desc.Size, 0)); err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	upload, err := r.Target.NewUpload(ctx, r.name, desc.Digest.Algorithm())
	if err != nil {
		return err
	}
	defer upload.Close()
	from := &reader{ctx: ctx, Reader: content, room: r.Room}
	n, err := upload.Append(ctx, -1, from)
	if err == nil {
		_, err = upload.Commit(ctx, desc.Digest)
	} else {
		err = errors.Join(err, upload.Cancel(context.WithoutCancel(ctx)))
	}
	switch {
	case err == nil:
		r.copied(n)
		r.kept(n)
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, core.ErrDigestInvalid):
		return faultf("blob %s is damaged: %w", desc.Digest, err)
	case from.err != nil:
		return faultf("blob %s: %w", desc.Digest, from.err)
	case from.full != nil:
		err = from.full
	}
	return fmt.Errorf("blob %s: %w", desc.Digest, err)
}

// shared mounts a blob that another repository here holds, once the source has proven that it
// also has the blob.
func (r *repository) shared(ctx context.Context, desc core.Descriptor) (bool, error) {
	for holder, err := range r.Target.Holders(ctx, desc.Digest) {
		if err != nil {
			return false, err
		}
		if _, err := r.check(ctx, desc); err != nil {
			return false, err
		}
		_, err = r.Target.Mount(ctx, r.name, holder, desc.Digest)
		if errors.Is(err, core.ErrBlobUnknown) {
			return false, nil // it went in between, and is copied
		} else if err != nil {
			return false, err
		}
		r.importer.mu.Lock()
		defer r.importer.mu.Unlock()
		r.summary.Shared++
		return true, nil
	}
	return false, nil
}

// open opens a blob of the source, and returns its size, or -1 if that is unknown.
// Errors: fault, ErrAbsent.
func (r *repository) open(ctx context.Context, desc core.Descriptor) (io.ReadCloser, int64, error) {
	content, size, err := r.Source.Blob(ctx, r.source, desc.Digest)
	switch {
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	case errors.Is(err, ErrAbsent):
		return nil, 0, err
	case err != nil:
		return nil, 0, faultf("blob %s: %w", desc.Digest, err)
	case desc.Size >= 0 && size >= 0 && size != desc.Size:
		content.Close()
		return nil, 0, faultf("blob %s is damaged: it is %d bytes, not %d", desc.Digest, size, desc.Size)
	}
	return content, size, nil
}

// check reads a blob of the source through its digest.
func (r *repository) check(ctx context.Context, desc core.Descriptor) (int64, error) {
	content, _, err := r.open(ctx, desc)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	verifier := desc.Digest.Verifier()
	n, err := io.Copy(verifier, &reader{ctx: ctx, Reader: content})
	switch {
	case ctx.Err() != nil:
		return n, context.Cause(ctx)
	case err != nil:
		return n, faultf("blob %s: %w", desc.Digest, err)
	case !verifier.Verified():
		return n, faultf("blob %s is damaged: its %d bytes have another digest", desc.Digest, n)
	}
	return n, nil
}

func (r *repository) copied(n int64) {
	r.importer.mu.Lock()
	defer r.importer.mu.Unlock()
	r.summary.Blobs++
	r.summary.Bytes += n
}

// roomStep is the number of bytes of a blob after which Room is called again: other images are
// written to the same disk.
const roomStep = 4 << 20

// reader reads from the source until ctx ends or there is no room, and keeps the source's
// error apart from those of the target.
type reader struct {
	ctx context.Context
	io.Reader
	room  func(int64) error // nil: nothing is written
	taken int64             // bytes since room was called
	err   error             // the source's
	full  error             // room's
}

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	if r.taken >= roomStep && r.room != nil {
		r.taken = 0
		if r.full = r.room(0); r.full != nil {
			return 0, r.full
		}
	}
	n, err := r.Reader.Read(p)
	r.taken += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
