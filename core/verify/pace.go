package verify

import (
	"context"
	"sync"
	"time"
)

const (
	// maxStep and minStep bound how much is read at once. A lower rate reads less at once, so
	// that its pauses are short.
	maxStep = 256 << 10
	minStep = 4 << 10
	// stepsPerSecond is how often a slow reader reads, unless minStep makes it less often.
	stepsPerSecond = 16
	// slack is how much of the time lost to a late timer is caught up.
	slack = 10 * time.Millisecond
)

// pace bounds what all runs read together. Within any time t it admits at most the rate times t
// plus slack, and one step.
type pace struct {
	mu      sync.Mutex // guards the fields below
	rate    int64      // bytes a second
	next    time.Time  // when the next bytes may be read
	changed chan struct{}
}

func newPace(rate int64) *pace { return &pace{rate: rate, changed: make(chan struct{})} }

// set changes the rate, also for those that wait.
func (p *pace) set(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rate == p.rate {
		return
	}
	if now := time.Now(); p.next.After(now) {
		p.next = now.Add(time.Duration(float64(p.next.Sub(now)) * float64(p.rate) / float64(rate)))
	}
	p.rate = rate
	close(p.changed)
	p.changed = make(chan struct{})
}

// step is how much may be read at once.
func (p *pace) step() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(max(p.rate/stepsPerSecond, minStep), maxStep)
}

// wait returns when n bytes may be read. Errors: the cause of ctx's end.
func (p *pace) wait(ctx context.Context, n int64) error {
	for ctx.Err() == nil {
		p.mu.Lock()
		now := time.Now()
		ahead := p.next.Sub(now)
		if ahead <= 0 {
			if ahead < -slack {
				p.next = now.Add(-slack)
			}
			p.addLocked(n)
			p.mu.Unlock()
			return nil
		}
		changed := p.changed
		p.mu.Unlock()
		timer := time.NewTimer(ahead)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return context.Cause(ctx)
}

// add counts bytes that were read already.
func (p *pace) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(n)
}

func (p *pace) addLocked(n int64) {
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
}
