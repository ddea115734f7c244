package download

import (
	"context"
	"time"
)

const (
	// slowAfter is how long a request for a range may be slow. Without an answer for as long, the
	// growing end does not count on it.
	slowAfter = time.Second
	// slowShare is the divisor for slow requests: a request is slow if it receives less than one
	// in slowShare of the bytes that the growing end receives in the same time.
	slowShare = 4
)

// measure is the number of bytes received since some time.
type measure struct {
	since time.Time // zero: nothing is measured
	bytes int64
	// Of the growing end, until then:
	streamed int64
	took     time.Duration
}

// receive notes that the growing end has n more bytes from its connection, and whether it
// continues to receive: only that time counts for its rate.
func (d *download) receive(n int, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streamed += int64(n)
	now := time.Now()
	d.took = d.received(now)
	if d.receives = (time.Time{}); on {
		d.receives = now
	}
}

// received returns how long the growing end has been receiving. d.mu is held.
func (d *download) received(now time.Time) time.Duration {
	if d.receives.IsZero() {
		return d.took
	}
	return d.took + now.Sub(d.receives)
}

// watch checks the request in flight every slowAfter, until ctx ends or the timer is stopped.
// Errors: why the request is not needed.
func (d *download) watch(ctx context.Context, stop context.CancelCauseFunc) (*time.Timer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	switch {
	case d.held >= a.asked.end:
		return nil, errOvertaken
	case !a.wished():
		return nil, errUnwished
	}
	a.stop, a.answered = stop, measure{}
	var timer *time.Timer
	timer = time.AfterFunc(slowAfter, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		now := time.Now()
		again := slowAfter
		switch {
		case ctx.Err() != nil:
			return
		case a.answered.since.IsZero():
			a.late = true
			d.changed.Broadcast()
		case now.Sub(a.answered.since) < slowAfter:
			again -= now.Sub(a.answered.since)
		case d.slow(now):
			stop(errSlow)
			return
		default:
			d.measureAhead(now)
		}
		timer.Reset(again)
	})
	return timer, nil
}

// hasAnswered begins to measure the request in flight.
func (d *download) hasAnswered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead.late = false
	d.measureAhead(time.Now())
}

// measureAhead begins to measure anew. d.mu is held.
func (d *download) measureAhead(now time.Time) {
	d.ahead.answered = measure{since: now, streamed: d.streamed, took: d.received(now)}
}

// slow reports whether the request in flight is far slower than the growing end, or than the
// growing end was if it waits for the request now. d.mu is held.
func (d *download) slow(now time.Time) bool {
	m := d.ahead.answered
	passed := now.Sub(m.since)
	bytes, took := d.streamed-m.streamed, d.received(now)-m.took
	if took < passed/2 {
		bytes, took = d.streamed, d.received(now)
	}
	if took < rateAfter { // see near
		bytes, took = leastAhead, time.Second
	}
	return slowShare*float64(m.bytes)/passed.Seconds() < float64(bytes)/took.Seconds()
}
