package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/upstream"
)

// download downloads one blob into the store. It belongs to the mirror and is independent of its
// readers.
type download struct {
	config *Config
	all    *Downloads
	repo   string // that was requested first; the blob is requested from the upstream under it
	digest digest.Digest
	slot   Slot // its place in all
	ctx    context.Context
	cancel context.CancelCauseFunc
	span   core.Span // below that of the first reader's request; those of the others link to it

	// Guarded by all.mu:
	repos   []string // that the blob is linked to in the end
	readers int
	left    uint64 // when the last reader left, by all.left
	stopped bool   // because it had no readers: it is about to end

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	state   state
	size    int64 // -1: not known
	held    int64 // bytes that are here: in the file before tail.start, the rest in tail
	tail    *tail // the last of them, nil before the first piece
	spare   *tail // for the next
	untold  int64 // bytes that arrived since readers were last woken
	toldAt  time.Time
	telling bool                // they will be soon
	file    bucket.UploadReader // nil: there is none yet
	users   int                 // of file: the readers, and run
	err     error               // why it is broken

	begun    time.Time     // when the upstream has answered
	streamed int64         // bytes that it has sent since, in order
	took     time.Duration // of receiving them, until receives
	receives time.Time     // since when bytes arrive; zero: they do not
	ahead    ahead
	sealed   bool  // no byte is missing, and the digest is not verified yet
	last     int64 // the offset of the byte that arrived last, if sealed
}

// state is how far a download is.
type state int

const (
	asking state = iota // the upstream has not answered
	growing
	whole  // committed: the digest is right
	unkept // the disk takes no more: each reader continues alone
	broken
)

func newDownload(ctx context.Context, all *Downloads, repo string, slot Slot) *download {
	dl := &download{
		config: &all.config, all: all, repo: repo, digest: slot.Digest, slot: slot,
		repos: []string{repo}, size: -1, users: 1,
	}
	dl.changed = sync.NewCond(&dl.mu)
	_, dl.ahead.off = all.mistrusted.Get(slot.Digest)
	// The download counts against the first caller's share of the transfers.
	access := core.AccessFrom(ctx)
	life := core.WithAccess(all.life, core.Access{Caller: access.Caller, Address: access.Address})
	life, dl.span = core.Begin(core.WithSpan(life, core.SpanFrom(ctx)), "mirror.download")
	dl.ctx, dl.cancel = context.WithCancelCause(life)
	return dl
}

// run downloads. It ends with the blob in the store, or with an error for the readers.
func (d *download) run() {
	defer d.release()
	defer d.cancel(nil)
	// The previous download may have ended between the lookup that began this one and its entry
	// in the table; it had committed by then.
	if _, err := d.config.Store.Stat(d.ctx, d.repo, d.digest); err == nil {
		d.end(broken, -1, errHeld)
		return
	}
	up := d.unfinished()
	defer func() {
		if up != nil {
			_ = up.Close() // its bytes are kept, or already gone
		}
	}()
	noted := d.config.Source.Note(d.ctx, d.repo)
	body := newStream(d.config, d.repo, d.digest)
	defer func() { body.Close() }()
	if !noted {
		d.giveUp(up, body.size, errUnnoted)
		return
	}
	if up != nil {
		body.offset = up.Offset()
		d.ahead.used = up.Offset() > 0 // some of it may have been fetched ahead
	}
	if !d.room(body) {
		d.giveUp(up, body.size, errNoRoom)
		return
	}
	err := body.open(d.ctx)
	if up != nil && beyond(err) {
		d.discard(up)
		up, body = nil, newStream(d.config, d.repo, d.digest)
		d.ahead.used = false
		err = body.open(d.ctx)
	}
	if err != nil {
		d.fail(err)
		return
	}
	if !d.room(body) { // now that the size is known
		err = errNoRoom
	}
	if err == nil && up != nil {
		err = d.hold(up)
	}
	if err == nil {
		d.begin(body.size)
	}
	if err == nil && up == nil {
		up, err = d.first(body)
	}
	if err == nil {
		err = d.copy(up, body)
	}
	if err == nil {
		err = d.commit(up)
	}
	var disk *diskError
	switch {
	case err == nil:
	case errors.As(err, &disk) && d.ctx.Err() == nil:
		d.giveUp(up, body.size, err)
	default:
		d.fail(err)
	}
}

// beyond reports whether an earlier download has left more bytes than the blob has.
func beyond(err error) bool {
	var e *upstream.Error
	return errors.Is(err, upstream.ErrCorrupt) || errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable
}

// room reports whether the missing bytes of the blob may be kept.
func (d *download) room(body *stream) bool {
	missing := int64(-1)
	if size := body.expected(); size >= 0 {
		missing = max(0, size-body.offset)
	}
	return d.config.Keeper.Room(missing)
}

// giveUp makes each reader continue alone. The held bytes are dropped at once, because other
// content may need the space more. Present readers can still read them.
func (d *download) giveUp(up core.Upload, size int64, err error) {
	if up != nil {
		d.discard(up)
	}
	d.config.Log.Warn("blob cannot be kept; each reader is served from the upstream",
		"repository", d.repo, "digest", d.digest, "error", err)
	d.end(unkept, size, nil)
}

// roomEvery is how many bytes of a download are kept between two checks of the disk.
const roomEvery = 4 << 20

// errNoRoom is why a download is not kept though the disk would take it.
var errNoRoom = &diskError{fmt.Errorf("%w: less is free than mirrors must leave", bucket.ErrNoSpace)}

// errUnnoted is why a download is not kept though the disk may take it.
var errUnnoted = &diskError{errors.New("the use of credentials for it cannot be recorded")}

// diskError is a failure of the store, not of the upstream.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

// unfinished returns the upload that an earlier download of the blob has left, or nil.
func (d *download) unfinished() core.Upload {
	record, ok := d.config.Source.Recall(d.ctx, d.slot)
	if !ok {
		return nil
	}
	up, err := d.config.Store.Upload(d.ctx, record.Repo, record.Upload)
	if err != nil {
		return nil // the collector was here
	}
	d.linkAlso(record.Repo)
	return up
}

// linkAlso also links the blob to the repository of the interrupted download, to which the upload
// belongs and to which the upstream has shown the blob.
func (d *download) linkAlso(repo string) {
	ds := d.all
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if repo != d.repo {
		d.repos = append(d.repos, repo)
	}
}

func (d *download) newUpload() (core.Upload, error) {
	up, err := d.config.Store.NewUpload(d.ctx, d.repo, d.digest.Algorithm())
	if err != nil {
		return nil, &diskError{err}
	}
	d.config.Source.Record(d.ctx, d.slot, Unfinished{Repo: d.repo, Upload: up.ID()})
	return up, nil
}

// discard drops an upload that must not be found again.
func (d *download) discard(up core.Upload) {
	ctx := context.WithoutCancel(d.ctx)
	if err := up.Cancel(ctx); err != nil && !errors.Is(err, core.ErrBlobUploadUnknown) {
		d.config.Log.Warn("unfinished download cannot be dropped; the collector will", "digest", d.digest, "error", err)
	}
	d.config.Source.Forget(ctx, d.slot)
}

// begin lets the readers in.
func (d *download) begin(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size, d.state, d.begun = size, growing, time.Now()
	d.seal(d.held - 1)
	d.changed.Broadcast()
}

// first gives readers the first bytes from memory, and then makes the upload. Its record is
// synced, and readers do not wait for the disk.
func (d *download) first(body *stream) (core.Upload, error) {
	n, err := body.Read(d.ctx, d.space())
	d.grow(n)
	if err != nil && err != io.EOF {
		return nil, err
	}
	up, err := d.newUpload()
	if err != nil {
		return up, err
	}
	return up, d.hold(up)
}

// hold has readers read from the upload's file.
func (d *download) hold(up core.Upload) error {
	readable, ok := up.(interface {
		Reader(ctx context.Context) (bucket.UploadReader, error)
	})
	if !ok {
		return &diskError{errors.New("the store's uploads cannot be read while they grow")}
	}
	file, err := readable.Reader(d.ctx)
	if err != nil {
		return &diskError{err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file, d.held = file, max(d.held, up.Offset())
	d.seal(d.held - 1)
	return nil
}

// copy wakes waiting readers for every piece that arrives. The file gets whole blocks: readers
// get the last one from memory.
func (d *download) copy(up core.Upload, body *stream) error {
	looked := up.Offset()
	for {
		if rest, full := d.unstored(up.Offset()); full {
			if err := d.store(up, rest); err != nil {
				return err
			}
			if up.Offset()-looked >= roomEvery {
				looked = up.Offset()
				if !d.config.Keeper.Room(-1) {
					return errNoRoom
				}
			}
		}
		n, err := d.next(body)
		d.grow(n)
		if err != nil {
			// The next download continues from the bytes of this one, if the disk takes them.
			rest, _ := d.unstored(up.Offset())
			if stored := d.store(up, rest); stored != nil {
				return stored
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// store appends to the upload. It is not cut off by a stop: the bytes are here.
func (d *download) store(up core.Upload, p []byte) error {
	if _, err := up.Append(context.WithoutCancel(d.ctx), up.Offset(), bytes.NewReader(p)); err != nil {
		return &diskError{err}
	}
	return nil
}

// commit verifies the bytes, stores them as the blob, and links it to all repositories that
// joined. A stop does not interrupt it: all bytes are here.
func (d *download) commit(up core.Upload) error {
	ctx := context.WithoutCancel(d.ctx)
	desc, err := up.Commit(ctx, d.digest)
	if errors.Is(err, core.ErrDigestInvalid) {
		d.config.Source.Forget(ctx, d.slot)
		if d.ahead.used {
			d.all.mistrust(d.digest)
		}
		return fmt.Errorf("%w: %w", upstream.ErrCorrupt, errors.New(err.Error())) // the condition is not the client's
	}
	if err != nil {
		return &diskError{err}
	}
	d.config.Source.Forget(ctx, d.slot)
	// The upload's repository has its link; a repository that cannot be linked asks again later.
	ds, linked := d.all, []string{}
	for {
		more := ds.unlinked(d, linked)
		if more == nil {
			break
		}
		for _, repo := range more {
			linked = append(linked, repo)
			if _, err := d.config.Store.Mount(ctx, repo, "", d.digest); err != nil {
				d.config.Log.Warn("blob cannot be linked", "repository", repo, "digest", d.digest, "error", err)
			}
		}
	}
	d.config.Keeper.Kept(d.repo, desc.Size)
	d.end(whole, desc.Size, nil)
	return nil
}

// fail ends the download for all readers. Its bytes are kept for the next one.
func (d *download) fail(err error) {
	switch {
	case context.Cause(d.ctx) == errUnread:
		err = errUnread
	case d.ctx.Err() != nil:
		err = fmt.Errorf("%w: the mirror of %s was stopped", core.ErrUnavailable, d.config.Name)
	default:
		err = d.config.Source.Ended(d.repo, d.digest, err)
	}
	d.end(broken, -1, err)
}

// end takes the download out of the table, so that later readers begin another one, and then
// wakes the readers.
func (d *download) end(s state, size int64, err error) {
	d.all.over(d)
	d.span.SetInt("registry.blob.size", size)
	if Again(err) {
		d.span.End(nil)
	} else {
		d.span.End(err)
	}
	d.mu.Lock()
	d.state, d.size, d.err = s, size, err
	gone := d.dropAhead()
	d.changed.Broadcast()
	d.mu.Unlock()
	gone()
}

// release gives up the file, which is closed with its last user.
func (d *download) release() {
	d.mu.Lock()
	d.users--
	var file bucket.UploadReader
	if d.users == 0 {
		file, d.file = d.file, nil
	}
	d.mu.Unlock()
	if file != nil {
		_ = file.Close() // it was only read
	}
}
