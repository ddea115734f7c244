package download

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// leastAhead is how many bytes ahead of the growing end a range begins at least to be asked
	// for by itself. With a fast upstream it is what comes in a second.
	leastAhead = 8 << 20
	// rateAfter is how long an upstream has sent when its rate is known.
	rateAfter = 100 * time.Millisecond
	// maxWishes bounds the readers of a download that something is fetched ahead for, and
	// maxRanges the requests of a download. The other readers wait for the growing end.
	maxWishes = 256
	maxRanges = 256
	// maxOfBlob bounds the scratch file of a download, in bytes that it has.
	maxOfBlob = maxScratch / 2
	// maxFailures bounds the failed requests of a download that another try may not meet.
	maxFailures = 2
	// largeSpan is how many bytes the growing end skips at least, instead of receiving them once
	// more: a request costs a moment, too. What it receives twice is bounded by a share of the
	// blob, one in twiceShare.
	largeSpan  = 1 << 20
	twiceShare = 32
)

// ahead is what a download has of a blob beyond its growing end, for readers of ranges: one
// request at a time fetches it into a scratch file, and the growing end takes it from there.
// download.mu guards it.
type ahead struct {
	off      bool                    // nothing more is fetched
	wishes   []*Follower             // that wait for something far, the first one first
	asked    span                    // of the request in flight, from its next byte on; empty: none
	running  bool                    // asked is being fetched
	stop     context.CancelCauseFunc // ends the request in flight
	file     bucket.ScratchFile      // nil: there is none
	have     spans                   // of file
	reserved int64                   // of the budget, by have
	requests int
	failures int
	used     bool  // the upload has bytes from file
	passed   int64 // up to where the growing end receives what is in file
	twice    int64 // bytes that it received so
}

var (
	// errOvertaken ends a request whose next byte came with the growing end.
	errOvertaken = errors.New("the download has come that far")
	// errUnwished ends a request that no reader waits for any more.
	errUnwished = errors.New("no reader waits for the range")
)

// Until says that the reader reads up to end, and no further: what is far is asked for up to
// there. Without it nothing is. It comes before the first Read.
func (f *Follower) Until(end int64) { f.until = end }

// wish has fetched ahead what a reader waits for, if that is far. d.mu is held.
func (d *download) wish(f *Follower) {
	a := &d.ahead
	if a.off || f.offset >= f.until {
		return
	}
	if f.wished.size() == 0 {
		if len(a.wishes) == maxWishes {
			return
		}
		a.wishes = append(a.wishes, f)
	}
	f.wished = span{f.offset, f.until}
	if a.running {
		return
	}
	if by, want, ok := d.nextAhead(); ok {
		a.running = true
		d.users++
		d.all.background.Go(func() { d.runAhead(by, want) })
	}
}

// unwish is the end of a reader's wishes, and of a request that was made for them alone.
func (d *download) unwish(f *Follower) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	a.wishes = slices.DeleteFunc(a.wishes, func(other *Follower) bool { return other == f })
	if a.running && a.stop != nil && !a.wished() {
		a.stop(errUnwished)
	}
}

// nextAhead picks what to ask for next, and reserves the room for it: around what the first reader
// waits for all that others wait for, so that readers of many ranges in a row cost one request.
// d.mu is held.
func (d *download) nextAhead() (by context.Context, want span, ok bool) {
	a := &d.ahead
	if a.off || d.config.Scratch == nil || d.state != growing || d.size < 0 || d.ctx.Err() != nil || a.requests == maxRanges {
		return nil, span{}, false
	}
	far := d.held + d.near()
	for _, f := range a.wishes {
		missing := a.have.end(f.wished.start)
		if missing >= f.wished.end || missing < far {
			continue
		}
		want = f.wished
		for before := (span{}); before != want; {
			before = want
			for _, other := range a.wishes {
				if other.wished.meets(want) {
					want = want.with(other.wished)
				}
			}
		}
		gap := a.have.gap(missing, d.size)
		// The download reaches near bytes by itself. Where that ends does not follow the rate, or the rest of
		// what others wait for would be cut into pieces.
		want = span{max(want.start, gap.start, d.held+leastAhead), min(want.end, gap.end)}
		granted := d.config.Budget.begin(min(want.size(), maxOfBlob-a.reserved))
		if granted <= 0 {
			return nil, span{}, false
		}
		if granted < want.size() { // the first reader comes first
			want.start = max(want.start, min(missing, want.end-granted))
			want.end = want.start + granted
		}
		a.asked, a.requests = want, a.requests+1
		return f.ctx, want, true
	}
	return nil, span{}, false
}

// near is how far the growing end comes in about a second, in bytes. d.mu is held.
func (d *download) near() int64 {
	passed := time.Since(d.begun)
	if d.begun.IsZero() || passed < rateAfter {
		return leastAhead
	}
	return max(leastAhead, int64(float64(d.streamed)/passed.Seconds()))
}

// runAhead fetches one span after the other, as long as readers wait for some.
func (d *download) runAhead(by context.Context, want span) {
	defer d.release()
	for ok := true; ok; {
		got, err := d.fetchAhead(by, want)
		d.config.Budget.end(want.size() - got)
		d.mu.Lock()
		a := &d.ahead
		switch {
		case err == nil, d.ctx.Err() != nil, errors.Is(err, errOvertaken), errors.Is(err, errUnwished):
		case passing(err) && a.failures+1 < maxFailures:
			a.failures++
		default:
			a.off = true
			d.config.Log.Info("ranges of a blob are not fetched ahead any more; they wait for the download",
				"repository", d.repo, "digest", d.digest, "error", err)
		}
		if d.state > growing {
			d.config.Budget.free(got) // the file is gone
		} else {
			a.reserved += got
		}
		a.asked = span{}
		by, want, ok = d.nextAhead()
		a.running = ok
		d.changed.Broadcast()
		d.mu.Unlock()
	}
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
	// The reader answers for the place that the request takes among the transfers.
	access := core.AccessFrom(by)
	ctx, stop := context.WithCancelCause(core.WithAccess(d.ctx, core.Access{Caller: access.Caller, Address: access.Address}))
	defer stop(nil)
	d.mu.Lock()
	d.ahead.stop = stop
	wished := d.ahead.wished()
	d.mu.Unlock()
	if !wished {
		return 0, errUnwished
	}
	body, err := d.config.Source.Range(ctx, d.repo, d.digest, want.start, want.size(), d.size)
	if err != nil {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	defer body.Close()
	buf := make([]byte, block)
	for at := want.start; at < want.end; {
		n, err := body.Read(buf[:min(block, want.end-at)])
		if n > 0 {
			if _, err := file.WriteAt(buf[:n], at); err != nil {
				return at - want.start, &diskError{err}
			}
			err := d.growAhead(span{at, at + int64(n)})
			at += int64(n)
			if err != nil && at < want.end {
				return at - want.start, err
			}
		}
		if err == io.EOF && at < want.end {
			err = upstream.ErrUnavailable
		}
		if err != nil && err != io.EOF {
			return at - want.start, cmp.Or(context.Cause(ctx), err)
		}
	}
	return want.size(), nil
}

// scratch is the scratch file, which is made when it is needed first.
func (d *download) scratch() (bucket.ScratchFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state > growing {
		return nil, context.Canceled
	}
	if d.ahead.file == nil {
		file, err := d.config.Scratch.Scratch()
		if err != nil {
			return nil, &diskError{err}
		}
		d.ahead.file = file
	}
	return d.ahead.file, nil
}

// growAhead lets readers have what is in the scratch file now. Errors: why the rest is not needed.
func (d *download) growAhead(s span) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	if a.file == nil {
		return errMoved
	}
	a.have.add(s)
	a.asked.start = s.end
	d.seal(s.end - 1)
	d.changed.Broadcast()
	if d.held > s.end {
		return errOvertaken
	}
	if !a.wished() {
		return errUnwished
	}
	return nil
}

// wished reports whether a reader waits for what is still to come of the request in flight.
func (a *ahead) wished() bool {
	return slices.ContainsFunc(a.wishes, func(f *Follower) bool {
		return f.wished.start < a.asked.end && f.wished.end > a.asked.start
	})
}

// dropAhead gives the scratch file up. d.mu is held.
func (d *download) dropAhead() {
	a := &d.ahead
	a.off = true
	if a.file != nil {
		_ = a.file.Close() // it has no content that anybody needs
	}
	d.config.Budget.free(a.reserved)
	a.file, a.have, a.reserved = nil, nil, 0
}

// seal keeps the last missing byte of a blob from the readers until the digest is right. It is
// called after every piece, with the offset of the last byte in it that was missing before: of
// the piece after which nothing is missing, nobody was given that one. d.mu is held.
func (d *download) seal(last int64) {
	if d.size > 0 && !d.sealed && d.ahead.have.end(d.held) >= d.size {
		d.sealed, d.last = true, last
	}
}

// next brings the next bytes of the blob: from the scratch file, or from the upstream.
func (d *download) next(body *stream) (int, error) {
	p := d.space()
	if n, err := d.fromAhead(body, p); n > 0 || err != nil {
		return n, err
	}
	n, err := body.Read(d.ctx, p)
	d.mu.Lock()
	d.streamed += int64(n)
	d.mu.Unlock()
	return n, err
}

// fromAhead takes bytes from the scratch file, if they are there and are worth to be skipped by
// the connection. Without a connection it waits for those that are about to come.
func (d *download) fromAhead(body *stream, p []byte) (n int, err error) {
	a := &d.ahead
	var file bucket.ScratchFile
	_, err = d.await(d.ctx, func() bool {
		file, n = a.file, int(min(int64(len(p)), a.have.end(body.offset)-body.offset))
		follows := a.running && a.asked.has(body.offset) && a.have.end(body.offset-1) == body.offset
		return n > 0 || body.body != nil || !follows
	})
	if err != nil || n == 0 || body.body != nil && !d.skips(body.offset) {
		return 0, err
	}
	if n, err = file.ReadAt(p[:n], body.offset); err != nil {
		d.config.Log.Warn("scratch file cannot be read; its part is asked for again", "digest", d.digest, "error", err)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.dropAhead()
		return 0, nil
	}
	d.mu.Lock()
	a.used = true
	d.mu.Unlock()
	body.jump(n)
	return n, nil
}

// skips reports whether the connection of the growing end is given up at offset, behind which
// the scratch file has bytes.
func (d *download) skips(offset int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	if offset < a.passed {
		return false
	}
	end := a.have.end(offset)
	if a.running && a.asked.start == end {
		end = a.asked.end
	}
	if end-offset >= largeSpan || a.twice+end-offset > d.size/twiceShare {
		return true
	}
	a.passed = end
	a.twice += end - offset
	return false
}
