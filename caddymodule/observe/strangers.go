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
	// StrangerRecords is the number of refused writes that are recorded separately, for each
	// address without an identity and each minute. Clients without a login cause one or two for
	// each push, a flood any number; so the rest of a minute is counted, and recorded as one
	// number.
	StrangerRecords = 60
	StrangerWindow  = time.Minute
	// maxStrangers bounds the addresses that are counted separately. Further addresses share
	// one count.
	maxStrangers = 1000
)

// Strangers bounds what callers without an identity can write into the audit.
type Strangers struct {
	now  func() time.Time
	seen *memo.Memo[string, strangerCount]

	mu   sync.Mutex   // guards over, and a count from the look for room until it is kept
	over []unrecorded // minutes that are over and not recorded yet
}

type strangerCount struct {
	since            time.Time
	told, unrecorded int
}

// NewStrangers makes a Strangers with a clock; nil is time.Now.
func NewStrangers(now func() time.Time) *Strangers {
	if now == nil {
		now = time.Now
	}
	// None makes room for another: otherwise its count would begin again, and cause endless
	// records.
	return &Strangers{now: now, seen: memo.New[string, strangerCount](maxStrangers+1, StrangerWindow, now)}
}

// Admit reports whether a refusal gets a separate record, and counts it in either case.
//
// An IPv6 address counts by its /64, because one machine usually has all of it.
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

// unrecorded has the number of refusals of an address without a record.
type unrecorded struct {
	address string
	count   int
	since   time.Time
}

// drain removes the minutes that are over, and returns the records to write for them.
func (s *Strangers) drain() []unrecorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	rest := s.over
	s.over = nil
	return rest
}

// TellUnrecorded records, for each address of s whose minute is over, how many refusals had no
// separate record.
func (a Audit) TellUnrecorded(event string, s *Strangers) {
	for _, u := range s.drain() {
		a.Tell(event, append(By(policies.Identity{}, u.address), "status", http.StatusUnauthorized, "unrecorded", u.count, "since", u.since.UTC())...)
	}
}
