package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// strangerRecords is how many writes of one address that are answered 401 have a
	// record each in a minute. Clients without a login make one or two for each push,
	// a flood any number; so the rest of a minute is counted, and told as one number.
	strangerRecords = 60
	strangerWindow  = time.Minute
	// maxStrangers bounds the addresses that are told apart. Those beyond share one.
	maxStrangers = 1000
)

// strangers bounds what callers without an identity can write into the audit.
type strangers struct {
	mu   sync.Mutex // guards seen
	seen map[string]*strangerCount
}

type strangerCount struct {
	since            time.Time
	told, unrecorded int
}

// admit tells whether a refusal has a record of its own, and counts it in either case.
func (s *strangers) admit(address string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]*strangerCount{}
	}
	if s.seen[address] == nil && len(s.seen) >= maxStrangers {
		address = ""
	}
	count := s.seen[address]
	if count == nil {
		count = &strangerCount{since: now}
		s.seen[address] = count
	}
	if count.told < strangerRecords {
		count.told++
		return true
	}
	count.unrecorded++
	return false
}

// unrecorded is how many refusals of an address had no record.
type unrecorded struct {
	address string
	count   int
	since   time.Time
}

// drain forgets the minutes that are over, and returns what is left to tell of them.
func (s *strangers) drain(now time.Time) (rest []unrecorded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, count := range s.seen {
		if now.Sub(count.since) < strangerWindow {
			continue
		}
		if count.unrecorded > 0 {
			rest = append(rest, unrecorded{address, count.unrecorded, count.since})
		}
		delete(s.seen, address)
	}
	slices.SortFunc(rest, func(a, b unrecorded) int { return a.since.Compare(b.since) })
	return rest
}

// tellStrangers tells what was not recorded, until ctx ends.
func (a *App) tellStrangers(ctx context.Context) {
	tick := time.NewTicker(strangerWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			a.audit.tellUnrecorded(a.strangers.drain(now))
		}
	}
}

func (a audit) tellUnrecorded(rest []unrecorded) {
	for _, u := range rest {
		a.tell(auditDenied, append(byWhom(policies.Identity{}, u.address), "status", http.StatusUnauthorized, "unrecorded", u.count, "since", u.since.UTC())...)
	}
}

// observeDenied makes an observer that tells of a write that was refused. who is read
// at the end.
func (h *Handler) observeDenied(request wire.Request, who *identity.Proven, address string, next func(wire.Outcome)) func(wire.Outcome) {
	return func(o wire.Outcome) {
		if next != nil {
			next(o)
		}
		if !request.Kind.Writes() || o.Err == nil {
			return
		}
		// Whoever may not read is told that there is no such repository. So is nobody,
		// where a login may not be asked for.
		hidden := errors.Is(o.Err, core.ErrNameUnknown) && !h.app.policy.Allows(who.Identity, policies.Read, request.Repo)
		switch {
		case o.Status == http.StatusForbidden, hidden && !who.Anonymous():
		case o.Status == http.StatusUnauthorized, hidden:
			if !h.app.strangers.admit(address, time.Now()) {
				return
			}
		default:
			return
		}
		fields := append(byWhom(who.Identity, address), "repository", request.Repo, "action", request.Kind.String(), "status", o.Status)
		if len(request.Tags) > 0 {
			fields = append(fields, "tags", request.Tags)
		}
		h.app.audit.tell(auditDenied, append(fields, "error", o.Err.Error())...)
	}
}
