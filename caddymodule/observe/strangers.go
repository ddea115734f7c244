package observe

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/memo"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// StrangerRecords is how many refused writes of one address without an identity have a
	// record each in a minute. Clients without a login make one or two for each push,
	// a flood any number; so the rest of a minute is counted, and told as one number.
	StrangerRecords = 60
	StrangerWindow  = time.Minute
	// maxStrangers bounds the addresses that are told apart. Those beyond share one.
	maxStrangers = 1000
)

// Strangers bounds what callers without an identity can write into the audit.
type Strangers struct {
	now  func() time.Time
	seen *memo.Memo[string, strangerCount]

	mu   sync.Mutex   // guards over, and a count from the look for room until it is kept
	over []unrecorded // minutes that are over and were not told of
}

type strangerCount struct {
	since            time.Time
	told, unrecorded int
}

// NewStrangers counts by a clock; nil is time.Now.
func NewStrangers(now func() time.Time) *Strangers {
	if now == nil {
		now = time.Now
	}
	// None makes room for another: its count would begin anew, and be told without end.
	return &Strangers{now: now, seen: memo.New[string, strangerCount](maxStrangers+1, StrangerWindow, now)}
}

// Admit reports whether a refusal has a record of its own, and counts it in either case.
//
// An IPv6 address counts by its /64, which one machine has whole.
func (s *Strangers) Admit(address string) bool {
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
		if count.told <= StrangerRecords {
			count.told++
		}
		if count.told > StrangerRecords {
			count.unrecorded++
		}
		return count
	})
	return count.unrecorded == 0
}

func (s *Strangers) expireLocked() {
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
func (s *Strangers) drain() []unrecorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	rest := s.over
	s.over = nil
	return rest
}

// TellUnrecorded records, for each address of s whose minute is over, how many refusals had no
// record of their own.
func (a Audit) TellUnrecorded(event string, s *Strangers) {
	for _, u := range s.drain() {
		a.Tell(event, append(By(policies.Identity{}, u.address), "status", http.StatusUnauthorized, "unrecorded", u.count, "since", u.since.UTC())...)
	}
}
