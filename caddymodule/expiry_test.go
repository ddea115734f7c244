package caddymodule

import (
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

func TestAKeyIsAnnouncedOnceADayUntilItsEnd(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	keys := []identity.Key{
		{ID: "soon", Expires: start.Add(16 * day)},
		{ID: "later", Expires: start.Add(80 * day)},
		{ID: "revoked", Expires: start.Add(2 * day), Revoked: start},
		{ID: "expired", Expires: start.Add(-day)},
	}
	told := announcements{}
	var days []int
	for hour := range 24 * 20 {
		for _, key := range told.due(keys, start.Add(time.Duration(hour)*time.Hour)) {
			if key.ID != "soon" {
				t.Errorf("hour %d: announced %s", hour, key.ID)
			}
			days = append(days, hour/24)
		}
	}
	// From 14 days before its end, which is on day 16.
	if len(days) != 14 || days[0] != 2 || days[13] != 15 {
		t.Errorf("announced on days %v, want each of 2 to 15", days)
	}
	if len(told) != 0 {
		t.Errorf("%v is remembered for nothing", told)
	}
	var counts keyCounts
	counts.add(keys, start.Add(3*day))
	if want := (keyCounts{1, 1, 1, keys[0].Expires}); counts != want {
		t.Errorf("got %+v, want %+v", counts, want)
	}
}
