package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/memo"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// strangerRecords is how many refused writes of one address without an identity have a
	// record each in a minute. Clients without a login make one or two for each push,
	// a flood any number; so the rest of a minute is counted, and told as one number.
	strangerRecords = 60
	strangerWindow  = time.Minute
	// maxStrangers bounds the addresses that are told apart. Those beyond share one.
	maxStrangers = 1000
)

// strangers bounds what callers without an identity can write into the audit.
type strangers struct {
	now  func() time.Time
	seen *memo.Memo[string, strangerCount]

	mu   sync.Mutex   // guards over, and a count from the look for room until it is kept
	over []unrecorded // minutes that are over and were not told of
}

type strangerCount struct {
	since            time.Time
	told, unrecorded int
}

// newStrangers counts by a clock; nil is time.Now.
func newStrangers(now func() time.Time) *strangers {
	if now == nil {
		now = time.Now
	}
	// None makes room for another: its count would begin anew, and be told without end.
	return &strangers{now: now, seen: memo.New[string, strangerCount](maxStrangers+1, strangerWindow, now)}
}

// admit reports whether a refusal has a record of its own, and counts it in either case.
//
// An IPv6 address counts by its /64, which one machine has whole.
func (s *strangers) admit(address string) bool {
	address = strings.TrimPrefix(core.Access{Address: address}.Principal(), "address ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	if _, known := s.seen.Get(address); !known && s.seen.Len() >= maxStrangers {
		address = ""
	}
	count := s.seen.Update(address, func(count strangerCount, known bool) strangerCount {
		if !known {
			count.since = s.now()
		}
		if count.told <= strangerRecords {
			count.told++
		}
		if count.told > strangerRecords {
			count.unrecorded++
		}
		return count
	})
	return count.unrecorded == 0
}

func (s *strangers) expireLocked() {
	s.seen.Expire(func(address string, count strangerCount) {
		if count.unrecorded > 0 {
			s.over = append(s.over, unrecorded{address, count.unrecorded, count.since})
		}
	})
}

// unrecorded is how many refusals of an address had no record.
type unrecorded struct {
	address string
	count   int
	since   time.Time
}

// drain forgets the minutes that are over, and returns what is left to tell of them.
func (s *strangers) drain() []unrecorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	rest := s.over
	s.over = nil
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
		case <-tick.C:
			a.audit.tellUnrecorded(auditDenied, a.strangers.drain())
			a.audit.tellUnrecorded(auditLoginRefused, a.refused.drain())
		}
	}
}

func (a audit) tellUnrecorded(event string, rest []unrecorded) {
	for _, u := range rest {
		a.tell(event, append(byWhom(policies.Identity{}, u.address), "status", http.StatusUnauthorized, "unrecorded", u.count, "since", u.since.UTC())...)
	}
}

// observeDenied makes an observer that records refused writes. who and a are
// read at the end. A write whose credential was refused is told of as a refused login.
func (h *Handler) observeDenied(request wire.Request, who *identity.Proven, a *asked, next func(wire.Outcome)) func(wire.Outcome) {
	address := a.credential.Address
	return func(o wire.Outcome) {
		if next != nil {
			next(o)
		}
		if !request.Kind.Writes() || o.Err == nil || a.refused {
			return
		}
		// Whoever may not read is told that there is no such repository. So is nobody,
		// where a login may not be asked for.
		hidden := errors.Is(o.Err, core.ErrNameUnknown) && !h.app.policy.Allows(who.Identity, policies.Read, request.Repo)
		switch {
		case !who.Anonymous() && (o.Status == http.StatusForbidden || hidden):
		case o.Status == http.StatusForbidden, o.Status == http.StatusUnauthorized, hidden:
			// Nobody has said who it is: a stranger, a name that nobody claims, a
			// site that takes no writes.
			if !h.app.strangers.admit(address) {
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
