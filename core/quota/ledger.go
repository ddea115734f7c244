package quota

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core"
)

const (
	// idle is how long an upload must have received no byte before it may be dropped for
	// another upload of its caller. A client that pauses for longer begins again.
	idle = 10 * time.Minute
	// forgotten is the time without a request after which an upload no longer counts. The
	// collector has dropped it by then, or will.
	forgotten = 48 * time.Hour
)

// ledger records the open uploads of each caller.
type ledger struct {
	now func() time.Time

	mu    sync.Mutex          // guards all below, and the entries' fields
	open  map[string][]*entry // by principal, in the order in which they began
	byID  map[string]*entry   // those that have an ID
	swept time.Time           // when forgotten ones were last looked for
}

// entry is an open upload of a caller.
type entry struct {
	principal, repo string
	id              string // empty until the upload has begun
	used            time.Time
	busy            int // requests that write to it
}

// admit counts an upload that is about to begin.
func (q *Registry) admit(ctx context.Context, repo string) (*entry, error) {
	principal := core.AccessFrom(ctx).Principal()
	most := q.limits.Load().Uploads
	for {
		e, oldest, wait := q.ledger.begin(principal, repo, most)
		switch {
		case e != nil:
			return e, nil
		case oldest == nil:
			return nil, core.WithRetry(fmt.Errorf("%w: you have %d unfinished uploads, and at most that many; finish or cancel one, or come again when one has been idle for %v",
				core.ErrTooManyRequests, most, idle), q.ledger.now().Add(wait))
		}
		if err := q.drop(ctx, oldest); err != nil {
			return nil, err
		}
	}
}

// drop ends an upload that was idle, to make room.
func (q *Registry) drop(ctx context.Context, e *entry) error {
	ctx = context.WithoutCancel(ctx) // a cancelled request must not leave it half done
	u, err := q.Registry.Upload(ctx, e.repo, e.id)
	if err == nil {
		err = u.Cancel(ctx)
		err = errors.Join(err, u.Close())
	}
	switch {
	case err == nil, errors.Is(err, core.ErrBlobUploadUnknown):
		q.ledger.forget(e)
	case errors.Is(err, core.ErrRangeInvalid):
		q.ledger.use(e, 0) // a request has begun to write to it
	default:
		return fmt.Errorf("upload %s, to make room: %w", e.id, err)
	}
	return nil
}

// begin adds an entry if the principal has room for one. Otherwise it returns the principal's
// oldest idle entry or, if there is none, how long until there may be one.
func (l *ledger) begin(principal, repo string, most int) (added, oldest *entry, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweepLocked(now)
	if all := l.open[principal]; most >= 0 && len(all) >= most {
		wait = idle
		for _, e := range all {
			if e.busy > 0 || e.id == "" {
				continue
			}
			if since := now.Sub(e.used); since >= idle {
				return nil, e, 0
			} else {
				wait = min(wait, idle-since)
			}
		}
		return nil, nil, wait
	}
	added = &entry{principal: principal, repo: repo, used: now}
	l.open[principal] = append(l.open[principal], added)
	return added, nil, 0
}

// sweepLocked forgets uploads without requests for a long time, once an hour.
func (l *ledger) sweepLocked(now time.Time) {
	if now.Sub(l.swept) < time.Hour {
		return
	}
	l.swept = now
	for principal, all := range l.open {
		all = slices.DeleteFunc(all, func(e *entry) bool {
			old := e.busy == 0 && now.Sub(e.used) >= forgotten
			if old {
				delete(l.byID, e.id)
			}
			return old
		})
		l.setLocked(principal, all)
	}
}

func (l *ledger) setLocked(principal string, all []*entry) {
	if len(all) == 0 {
		delete(l.open, principal)
		return
	}
	l.open[principal] = all
}

// name sets the upload of an entry.
func (l *ledger) name(e *entry, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = id
	l.byID[id] = e
}

// find returns the entry of an upload. If it has none, because it was begun before a restart
// or by a key that others use as well, find counts it for the principal.
func (l *ledger) find(principal, repo, id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byID[id]; e != nil {
		e.used = l.now()
		return e
	}
	e := &entry{principal: principal, repo: repo, id: id, used: l.now()}
	l.open[principal] = append(l.open[principal], e)
	l.byID[id] = e
	return e
}

// OpenUploads returns how many unfinished uploads are known: those that a client has begun or
// continued since the start.
func (q *Registry) OpenUploads() int {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	n := 0
	for _, all := range q.ledger.open {
		n += len(all)
	}
	return n
}

// use marks an upload as used now, and changes the number of its requests.
func (l *ledger) use(e *entry, more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.used, e.busy = l.now(), e.busy+more
}

// forget removes an entry.
func (l *ledger) forget(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byID, e.id)
	all := slices.DeleteFunc(l.open[e.principal], func(other *entry) bool { return other == e })
	l.setLocked(e.principal, all)
}
