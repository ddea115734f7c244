package identity

import (
	"sync"
	"time"
)

const (
	// allowedFailures within failureWindow are answered as what they are. Further ones
	// are told to come later. A credential is verified nevertheless: behind Docker's
	// NAT, or a proxy, all machines have one address.
	allowedFailures = 10
	failureWindow   = 5 * time.Minute
	// maxFailing bounds how many callers are remembered.
	maxFailing = 10_000
)

// Failures counts failed attempts by address and claimed name.
type Failures struct {
	mu   sync.Mutex // guards seen
	seen map[failing]*attempts
}

type failing struct{ address, user string }

type attempts struct {
	since time.Time
	count int
}

// Failed counts a failed attempt. It returns when the caller may fail again, or the
// zero time if it has not failed too often.
func (f *Failures) Failed(c Credential, now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	who := failing{c.Address, c.User}
	a := f.seen[who]
	if a == nil || now.Sub(a.since) >= failureWindow {
		f.makeRoom(now)
		a = &attempts{since: now}
		f.seen[who] = a
	}
	a.count++
	if a.count <= allowedFailures {
		return time.Time{}
	}
	return a.since.Add(failureWindow)
}

// makeRoom drops who has not failed lately, and everybody if that is not enough:
// counting is a courtesy to logs, and nothing relies on it.
func (f *Failures) makeRoom(now time.Time) {
	if f.seen == nil {
		f.seen = map[failing]*attempts{}
	}
	if len(f.seen) < maxFailing {
		return
	}
	for who, a := range f.seen {
		if now.Sub(a.since) >= failureWindow {
			delete(f.seen, who)
		}
	}
	if len(f.seen) >= maxFailing {
		clear(f.seen)
	}
}
