package quota

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// step is the number of bytes of an upload after which the limits are checked again:
// others write to the same disk, and a reload may have changed the limits.
const step = 4 << 20

// upload is an unfinished upload that counts for its caller.
type upload struct {
	core.Upload
	quota *Registry
	entry *entry
}

// Append implements core.Upload. A body that is known to be too large is refused before
// its first byte. An upload that met a limit is dropped at once, because it cannot go on.
// Errors also: core.ErrUploadTooLarge, core.ErrNoSpace.
func (u *upload) Append(ctx context.Context, at int64, r io.Reader) (int64, error) {
	var length int64
	if announced, ok := r.(interface{ Announced() int64 }); ok {
		length = max(announced.Announced(), 0)
	}
	u.quota.ledger.use(u.entry, 1)
	defer u.quota.ledger.use(u.entry, -1)
	body := &bounded{r: r, upload: u}
	body.err = u.quota.fits(u.Offset(), length)
	if body.err == nil {
		var n int64
		n, err := u.Upload.Append(ctx, at, body)
		if body.err == nil {
			return n, err
		}
	}
	if err := u.Cancel(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, core.ErrBlobUploadUnknown) {
		return 0, fmt.Errorf("%w (and the upload was not dropped: %v)", body.err, err)
	}
	return 0, body.err
}

// Commit implements core.Upload.
func (u *upload) Commit(ctx context.Context, d digest.Digest) (core.Descriptor, error) {
	desc, err := u.Upload.Commit(ctx, d)
	if err == nil || errors.Is(err, core.ErrDigestInvalid) || errors.Is(err, core.ErrBlobUploadUnknown) {
		u.quota.ledger.forget(u.entry)
	}
	return desc, err
}

// Cancel implements core.Upload.
func (u *upload) Cancel(ctx context.Context) error {
	err := u.Upload.Cancel(ctx)
	if err == nil || errors.Is(err, core.ErrBlobUploadUnknown) {
		u.quota.ledger.forget(u.entry)
	}
	return err
}

// bounded is a body that ends in an error where a limit is met.
type bounded struct {
	r      io.Reader
	upload *upload
	begun  bool
	taken  int64 // bytes since the limits were last checked
	total  int64
	start  int64 // the upload's size before
	err    error // the limit that was met
}

func (b *bounded) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun, b.start = true, b.upload.Offset()
	}
	n, err := b.r.Read(p)
	b.taken += int64(n)
	b.total += int64(n)
	if b.err = b.upload.quota.inSize(b.start + b.total); b.err != nil {
		return 0, b.err
	}
	if b.taken >= step {
		b.taken = 0
		if b.err = b.upload.quota.Room(0); b.err != nil {
			return 0, b.err
		}
	}
	return n, err
}

// fits reports whether an upload of offset bytes may grow by length.
func (q *Registry) fits(offset, length int64) error {
	if err := q.inSize(offset + length); err != nil {
		return err
	}
	return q.Room(length)
}

// inSize reports whether an upload may have size bytes.
func (q *Registry) inSize(size int64) error {
	if most := q.limits.Load().Upload; most >= 0 && size > most {
		return fmt.Errorf("%w: at most %d bytes", core.ErrUploadTooLarge, most)
	}
	return nil
}

// Pressed reports whether the free space is below the reserve, so that no push has room.
func (q *Registry) Pressed() bool { return errors.Is(q.Room(0), core.ErrNoSpace) }

// Room returns core.ErrNoSpace unless the reserve stays free after size bytes more. Room(0)
// returns it while no push has room. If the free space is unknown, there is room.
func (q *Registry) Room(size int64) error {
	reserve := q.limits.Load().Reserve
	if q.disk == nil || reserve < 0 {
		return nil
	}
	least := func(total int64) int64 {
		if reserve == 0 {
			return min(DefaultReserve, total/reservePart)
		}
		return reserve
	}
	now := q.ledger.now()
	if s := q.seen.Load(); s != nil && now.Sub(s.at) < seenFor && s.free-size >= least(s.total)+ample {
		return nil
	}
	free, total, err := q.disk.Space()
	if err != nil {
		return nil
	}
	q.seen.Store(&space{at: now, free: free, total: total})
	if left := least(total); free-size < left {
		return fmt.Errorf("%w: %d bytes are free, pushes leave %d free, and this one needs %d", core.ErrNoSpace, max(free, 0), left, size)
	}
	return nil
}

const (
	// seenFor is how long the disk's free space is trusted while it is ample. A push of a
	// small image asks for it ten times.
	seenFor = 100 * time.Millisecond
	// ample is so much above the reserve that no disk is filled in seenFor, in bytes.
	ample = 2 << 30
)

// space is the result of the last check of the disk.
type space struct {
	at          time.Time
	free, total int64 // bytes
}
