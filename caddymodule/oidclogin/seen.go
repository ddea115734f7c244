package oidclogin

import (
	"sync"
	"time"
)

// maxSeen bounds what is remembered. What is over goes first; if all are under way
// the newest is refused, because forgetting one would let it be replayed.
const maxSeen = 50_000

// seen remembers what works once, until its time is over.
type seen struct {
	now func() time.Time

	mu    sync.Mutex // guards until
	until map[string]time.Time
}

func newSeen(now func() time.Time) *seen { return &seen{now: now, until: map[string]time.Time{}} }

// first tells whether id has not been here before.
func (s *seen) first(id string, expires time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.until[id]; again {
		return false
	}
	if len(s.until) >= maxSeen {
		now := s.now()
		for id, until := range s.until {
			if now.After(until) {
				delete(s.until, id)
			}
		}
		if len(s.until) >= maxSeen {
			return false
		}
	}
	s.until[id] = expires
	return true
}
