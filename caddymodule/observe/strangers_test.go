package observe

import (
	"fmt"
	"testing"
	"time"
)

func TestAFloodOfStrangersIsCountedAndNotRecorded(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	s := NewStrangers(func() time.Time { return now })
	told := 0
	for range 1000 {
		if s.Admit("203.0.113.9") {
			told++
		}
	}
	if told != StrangerRecords {
		t.Errorf("got %d records of a flood, want %d", told, StrangerRecords)
	}
	if !s.Admit("203.0.113.10") {
		t.Error("another address has no record")
	}
	now = now.Add(StrangerWindow - 1)
	if rest := s.drain(); len(rest) != 0 {
		t.Errorf("told %v ahead of the end of its minute", rest)
	}
	now = now.Add(1)
	rest := s.drain()
	if len(rest) != 1 || rest[0].address != "203.0.113.9" || rest[0].count != 1000-StrangerRecords {
		t.Errorf("got %+v, want what was not recorded of one address", rest)
	}
	if s.seen.Len() != 0 || !s.Admit("203.0.113.9") {
		t.Error("the next minute does not begin anew")
	}
	// Many addresses take no more memory, and together have the records of one.
	told = 0
	for i := range 10 * maxStrangers {
		if s.Admit(fmt.Sprint("2001:db8::", i)) {
			told++
		}
	}
	if s.seen.Len() > maxStrangers+1 || told > maxStrangers+StrangerRecords {
		t.Errorf("%d addresses are remembered, and %d records were made", s.seen.Len(), told)
	}
}
