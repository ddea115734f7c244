package caddymodule

import (
	"fmt"
	"testing"
	"time"
)

func TestAFloodOfStrangersIsCountedAndNotRecorded(t *testing.T) {
	var s strangers
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	told := 0
	for range 1000 {
		if s.admit("203.0.113.9", now) {
			told++
		}
	}
	if told != strangerRecords {
		t.Errorf("got %d records of a flood, want %d", told, strangerRecords)
	}
	if !s.admit("203.0.113.10", now) {
		t.Error("another address has no record")
	}
	if rest := s.drain(now.Add(strangerWindow - 1)); len(rest) != 0 {
		t.Errorf("told %v ahead of the end of its minute", rest)
	}
	now = now.Add(strangerWindow)
	rest := s.drain(now)
	if len(rest) != 1 || rest[0].address != "203.0.113.9" || rest[0].count != 1000-strangerRecords {
		t.Errorf("got %+v, want what was not recorded of one address", rest)
	}
	if len(s.seen) != 0 || !s.admit("203.0.113.9", now) {
		t.Error("the next minute does not begin anew")
	}
	// Many addresses take no more memory, and together have the records of one.
	told = 0
	for i := range 10 * maxStrangers {
		if s.admit(fmt.Sprint("2001:db8::", i), now) {
			told++
		}
	}
	if len(s.seen) > maxStrangers+1 || told > maxStrangers+strangerRecords {
		t.Errorf("%d addresses are remembered, and %d records were made", len(s.seen), told)
	}
}
