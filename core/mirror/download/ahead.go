package download

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// maxOfBlob bounds the scratch file of a download, in bytes that it has.
	maxOfBlob = maxScratch / 2
	// maxFailures bounds the failed requests of a download that another try may not meet.
	maxFailures = 2
	// largeSpan is the least number of bytes that the growing end skips, instead of receiving
	// them again: a new request takes a moment, too. The bytes received twice are bounded by a
	// share of the blob, one in twiceShare.
	largeSpan  = 1 << 20
	twiceShare = 32
)

// ahead is the part of a blob that a download has beyond its growing end, for readers of ranges.
// One request at a time fetches it into a scratch file, and the growing end takes it from there.
// download.mu guards it.
type ahead struct {
	off      bool                    // nothing more is fetched
	wishes   []*Follower             // that wait for something far, the first one first
	asked    span                    // of the request in flight, from its next byte on; empty: none
	running  bool                    // asked is being fetched
	late     bool                    // and has not been answered for long
	answered measure                 // what it has received, and the time since its answer
	stop     context.CancelCauseFunc // ends the request in flight; nil: it has not begun
	file     bucket.ScratchFile      // nil: there is none
	have     spans                   // of file
	reserved int64                   // of the budget, by have
	requests int
	failures int
	looked   time.Time // when the wishes were last checked for something to fetch
	looking  bool      // they will be soon
	used     bool      // the upload has bytes from file, or from that of an earlier download
	passed   int64     // up to where the growing end receives bytes that are in file
	twice    int64     // bytes that it received so
}

var (
	// errOvertaken ends a request whose next byte the growing end has received.
	errOvertaken = errors.New("the download has come that far")
	// errUnwished ends a request for which no reader waits any more.
	errUnwished = errors.New("no reader waits for the range")
	// errSlow ends a request that is far slower than the growing end.
	errSlow = errors.New("the range arrives far more slowly than the rest of the blob")
)

// runAhead fetches one span after the other, as long as readers wait for some.
func (d *download) runAhead(by context.Context, want span) {
	defer d.release()
	for ok := true; ok; {
		got, err := d.fetchAhead(by, want)
		d.config.Budget.end(want.size() - got)
		d.mu.Lock()
		a := &d.ahead
		switch {
		case err == nil, a.off, d.ctx.Err() != nil, errors.Is(err, errOvertaken), errors.Is(err, errUnwished):
		case (passing(err) || errors.Is(err, errSlow)) && a.failures+1 < maxFailures:
			a.failures++
		default:
			d.switchOff(err)
		}
		if a.file == nil {
			d.config.Budget.free(got) // its bytes are gone
		} else {
			a.reserved += got
		}
		a.asked, a.stop, a.late = span{}, nil, false
		by, want, ok = d.nextAhead()
		a.running = ok
		d.changed.Broadcast()
		d.mu.Unlock()
	}
}

// switchOff stops fetching ahead for this download. The bytes in the scratch file stay. d.mu is
// held.
func (d *download) switchOff(err error) {
	d.ahead.off = true
	level := slog.LevelInfo
	if disk := (*diskError)(nil); errors.As(err, &disk) && !errors.Is(err, errNoRoom) {
		level = slog.LevelWarn
	}
	d.config.Log.Log(d.ctx, level, "ranges of a blob are not fetched ahead any more; they wait for the download",
		"repository", d.repo, "digest", d.digest, "error", err)
}

// fetchAhead fetches a span into the scratch file, and returns how much it got.
func (d *download) fetchAhead(by context.Context, want span) (got int64, err error) {
	if !d.config.Keeper.Room(want.size()) {
		return 0, errNoRoom
	}
	file, err := d.scratch()
	if err != nil {
		return 0, err
	}
	// The request counts against the reader's share of the transfers.
	access := core.AccessFrom(by)
	life := core.WithAccess(d.ctx, core.Access{Caller: access.Caller, Address: access.Address})
	ctx, stop := context.WithCancelCause(life)
	defer stop(nil)
	watching, err := d.watch(ctx, stop)
	if err != nil {
		return 0, err
	}
	defer watching.Stop()
	body, err := d.config.Source.Range(ctx, d.repo, d.digest, want.start, want.size(), d.size)
	if err != nil {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	defer body.Close()
	d.hasAnswered()
	buf := make([]byte, block)
	for at := want.start; at < want.end; {
		n, err := body.Read(buf[:min(block, want.end-at)])
		if n > 0 {
			if _, err := file.WriteAt(buf[:n], at); err != nil {
				return at - want.start, &diskError{err}
			}
			useless := d.growAhead(span{at, at + int64(n)})
			if at += int64(n); at == want.end {
				break // whatever error came with the last byte
			}
			if useless != nil {
				return at - want.start, useless
			}
		}
		if err == io.EOF {
			err = upstream.ErrUnavailable
		}
		if err != nil {
			return at - want.start, cmp.Or(context.Cause(ctx), err)
		}
	}
	return want.size(), nil
}

// scratch returns the scratch file, which is made when it is first needed.
func (d *download) scratch() (bucket.ScratchFile, error) {
	held := func() (bucket.ScratchFile, error) {
		if d.ahead.off {
			return nil, errMoved
		}
		return d.ahead.file, nil
	}
	d.mu.Lock()
	file, err := held()
	d.mu.Unlock()
	if err != nil || file != nil {
		return file, err
	}
	made, err := d.config.Scratch.Scratch() // no other goroutine makes one
	if err != nil {
		return nil, &diskError{err}
	}
	d.mu.Lock()
	if _, err = held(); err == nil {
		d.ahead.file = made
	}
	d.mu.Unlock()
	if err != nil {
		_ = made.Close() // it is empty
	}
	return made, err
}

// growAhead makes the bytes that are now in the scratch file available to readers. Errors: why
// the rest is not needed.
func (d *download) growAhead(s span) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	if a.file == nil {
		return errMoved
	}
	a.have.add(s)
	a.asked.start = s.end
	a.answered.bytes += s.size()
	d.seal(s.end - 1)
	d.came(s.size())
	if d.held > s.end {
		return errOvertaken
	}
	if !a.wished() {
		return errUnwished
	}
	return nil
}

// dropAhead gives up the scratch file, and ends the request in flight. gone closes the file,
// which may take long, and must be called without d.mu. d.mu is held.
func (d *download) dropAhead() (gone func()) {
	a := &d.ahead
	if a.running && a.stop != nil {
		a.stop(errMoved)
	}
	file := a.file
	d.config.Budget.free(a.reserved)
	a.off, a.file, a.have, a.reserved = true, nil, nil, 0
	return func() {
		if file != nil {
			_ = file.Close() // its content is not needed any more
		}
	}
}

// unreadable gives up the scratch file because it cannot be read: its readers wait for the growing
// end, which asks for its part again. A byte that is kept back stays kept back.
func (d *download) unreadable(file bucket.ScratchFile, err error) {
	d.mu.Lock()
	if d.ahead.file != file { // it went meanwhile
		d.mu.Unlock()
		return
	}
	d.switchOff(&diskError{err})
	gone := d.dropAhead()
	d.changed.Broadcast()
	d.mu.Unlock()
	gone()
}

// seal withholds the last missing byte of a blob from the readers until the digest is verified.
// It is called after every piece, with the offset of the last byte in it that was missing before.
// No reader was given that byte of the piece after which nothing is missing. d.mu is held.
func (d *download) seal(last int64) {
	if d.size > 0 && !d.sealed && d.ahead.have.end(d.held) >= d.size {
		d.sealed, d.last = true, last
	}
}

// next returns the next bytes of the blob, from the scratch file or from the upstream.
func (d *download) next(body *stream) (int, error) {
	p := d.space()
	d.receive(0, false)
	if n, err := d.fromAhead(body, p); n > 0 || err != nil {
		return n, err
	}
	d.receive(0, true)
	n, err := body.Read(d.ctx, p)
	d.receive(n, true)
	return n, err
}

// fromAhead takes bytes from the scratch file, if there are enough that it is worth skipping them
// on the connection. Without a connection it waits for those that are being fetched.
func (d *download) fromAhead(body *stream, p []byte) (n int, err error) {
	a := &d.ahead
	var file bucket.ScratchFile
	_, err = d.await(d.ctx, func() bool {
		file, n = a.file, int(min(int64(len(p)), a.have.end(body.offset)-body.offset))
		follows := a.running && !a.late && a.asked.has(body.offset) && a.have.end(body.offset-1) == body.offset
		return n > 0 || body.body != nil || !follows
	})
	if err != nil || n == 0 || body.body != nil && !d.skips(body.offset) {
		return 0, err
	}
	if n, err = file.ReadAt(p[:n], body.offset); err != nil {
		d.unreadable(file, err)
		return 0, nil
	}
	d.mu.Lock()
	a.used = true
	d.mu.Unlock()
	body.jump(n)
	return n, nil
}

// skips reports whether the connection of the growing end is given up at offset, after which the
// scratch file has bytes.
func (d *download) skips(offset int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	end := a.have.end(offset)
	if end == d.size {
		return true // nothing is requested after it
	}
	if offset < a.passed || a.off || a.failures > 0 {
		// An upstream that has failed to send a range may fail to send the rest, too.
		return false
	}
	if a.running && !a.late && a.asked.start == end {
		end = a.asked.end
	}
	if end-offset >= largeSpan || a.twice+end-offset > d.size/twiceShare {
		return true
	}
	a.passed = end
	a.twice += end - offset
	return false
}
