package upstream

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/eblume/caddy-registry/core"
)

// A caller may have at most callerShare, and one repository of a caller at most
// repoShare, of the transfers (at least one). More would not be faster, because
// downloads run at the upstream's speed; and the rest stays free for others, however
// many blobs one caller waits for. By default a repository's share is twice the number
// of downloads that a mirror continues without readers.
const (
	callerShare = 0.75
	repoShare   = 0.5
)

// transfers bounds the blobs that are in transfer at once. A free place goes to the
// caller with the fewest places or, among equals, the one that got its last place the
// longest ago; then, in the same way, to one of that caller's repositories; then to the
// longest waiting transfer. So callers take turns, however many blobs each of them
// waits for.
type transfers struct {
	most int

	mu      sync.Mutex // guards the fields below
	all     int        // in transfer
	turn    uint64     // counts the places that were given
	lines   map[string]*line
	waiting []*transfer // in the order in which they came
}

// line is a caller, or a repository of a caller, that waits or has places.
type line struct {
	waiting, running int
	turn             uint64 // of the last place that it was given
}

// transfer is a transfer that waits for its place.
type transfer struct {
	caller, repo string        // keys of transfers.lines
	begun        chan struct{} // closed when it has a place
}

func newTransfers(most int) *transfers {
	return &transfers{most: most, lines: map[string]*line{}}
}

// acquire waits for a place, which release returns. The caller is in ctx, as
// core.Access. Errors: the cause of ctx.
func (ts *transfers) acquire(ctx context.Context, repo string) (release func(), err error) {
	caller := core.AccessFrom(ctx).Principal()
	t := &transfer{caller: caller, repo: caller + " in " + repo, begun: make(chan struct{})}
	ts.mu.Lock()
	ts.waiting = append(ts.waiting, t)
	ts.each(t, func(l *line) { l.waiting++ })
	ts.begin()
	ts.mu.Unlock()
	select {
	case <-t.begun:
	case <-ctx.Done():
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if i := slices.Index(ts.waiting, t); i >= 0 {
			ts.waiting = slices.Delete(ts.waiting, i, i+1)
			ts.each(t, func(l *line) { l.waiting-- })
		} else {
			ts.end(t) // it was given its place meanwhile
		}
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.end(t)
	}), nil
}

// begin assigns the free places. The caller holds mu, as for the functions below.
func (ts *transfers) begin() {
	callerMost, repoMost := ts.share(callerShare), ts.share(repoShare)
	for ts.all < ts.most {
		next := -1
		for i, t := range ts.waiting {
			if ts.lines[t.caller].running >= callerMost || ts.lines[t.repo].running >= repoMost {
				continue
			}
			if next < 0 || ts.before(t, ts.waiting[next]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		t := ts.waiting[next]
		ts.waiting = slices.Delete(ts.waiting, next, next+1)
		ts.all++
		ts.turn++
		ts.each(t, func(l *line) { l.waiting, l.running, l.turn = l.waiting-1, l.running+1, ts.turn })
		close(t.begun)
	}
}

func (ts *transfers) share(of float64) int { return max(1, int(float64(ts.most)*of)) }

// before reports whether it is a's turn rather than that of b, which has waited longer.
func (ts *transfers) before(a, b *transfer) bool {
	caller, repo := ts.lines[a.caller], ts.lines[a.repo]
	otherCaller, otherRepo := ts.lines[b.caller], ts.lines[b.repo]
	return cmp.Or(
		cmp.Compare(caller.running, otherCaller.running), cmp.Compare(caller.turn, otherCaller.turn),
		cmp.Compare(repo.running, otherRepo.running), cmp.Compare(repo.turn, otherRepo.turn)) < 0
}

// end takes the place of t back.
func (ts *transfers) end(t *transfer) {
	ts.all--
	ts.each(t, func(l *line) { l.running-- })
	ts.begin()
}

// each changes the lines of t, and drops those that are empty then.
func (ts *transfers) each(t *transfer, change func(*line)) {
	for _, key := range []string{t.caller, t.repo} {
		l := ts.lines[key]
		if l == nil {
			l = &line{}
			ts.lines[key] = l
		}
		if change(l); l.waiting == 0 && l.running == 0 {
			delete(ts.lines, key)
		}
	}
}
