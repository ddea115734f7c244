package download

import (
	"context"
	"slices"
	"time"
)

const (
	// leastAhead is the least distance in bytes from the growing end at which a range gets a
	// request of its own. A fast upstream sends about as much in a second.
	leastAhead = 8 << 20
	// rateAfter is how long an upstream has sent when its rate is known.
	rateAfter = 100 * time.Millisecond
	// maxWishes bounds the readers of a download that something is fetched ahead for, and
	// maxRanges the requests of a download. The other readers wait for the growing end.
	maxWishes = 256
	maxRanges = 256
)

// Until sets where the reader will stop reading: a distant range is fetched ahead up to there.
// Without Until nothing is fetched ahead. It must be called before the first Read.
func (f *Follower) Until(end int64) { f.until = end }

// wish requests that the bytes a reader waits for are fetched ahead, if they are far away. d.mu
// is held.
func (d *download) wish(f *Follower) {
	a := &d.ahead
	if a.off || f.offset >= f.until {
		return
	}
	first := f.wished.size() == 0
	if first {
		if len(a.wishes) == maxWishes {
			return
		}
		a.wishes = append(a.wishes, f)
	}
	f.wished = span{f.offset, f.until}
	// Readers call wish with every piece, and each call checks all wishes.
	switch passed := time.Since(a.looked); {
	case a.running:
	case first || passed >= tellWithin:
		d.look()
	case !a.looking:
		a.looking = true
		time.AfterFunc(tellWithin-passed, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			a.looking = false
			d.look()
		})
	}
}

// look begins to fetch bytes that readers wait for, if they are far away and no request is in
// flight. d.mu is held.
func (d *download) look() {
	a := &d.ahead
	if a.running {
		return
	}
	a.looked = time.Now()
	if by, want, ok := d.nextAhead(); ok {
		a.running = true
		d.users++
		// The download is growing, so all still waits for it.
		d.all.background.Go(func() { d.runAhead(by, want) })
	}
}

// unwish ends a reader's wishes, and a request that was made only for them.
func (d *download) unwish(f *Follower) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	a.wishes = slices.DeleteFunc(a.wishes, func(other *Follower) bool { return other == f })
	if a.running && a.stop != nil && !a.wished() {
		a.stop(errUnwished)
	}
}

// nextAhead picks what to request next, and reserves the space for it. It takes the range of the
// first reader together with the adjacent ranges of others, so that readers of many consecutive
// ranges cost one request. d.mu is held.
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
		// The download reaches near bytes by itself. This limit does not follow the rate, because
		// that would cut the rest of the other ranges into pieces.
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

// near returns how many bytes the growing end receives in about a second. d.mu is held.
func (d *download) near() int64 {
	passed := time.Since(d.begun)
	if d.begun.IsZero() || passed < rateAfter {
		return leastAhead
	}
	return max(leastAhead, int64(float64(d.streamed)/passed.Seconds()))
}

// wished reports whether a reader waits for bytes that the request in flight has yet to receive.
func (a *ahead) wished() bool {
	return slices.ContainsFunc(a.wishes, func(f *Follower) bool {
		return f.wished.start < a.asked.end && f.wished.end > a.asked.start
	})
}
