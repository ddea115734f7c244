package running

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core/store"
)

func TestScheduleOutlivesConfigurations(t *testing.T) {
	opened := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name            string
		interval, grace time.Duration
		last            time.Time
		want            time.Duration // since opened
	}{
		{"first when the grace of a start is over", 24 * time.Hour, time.Hour, time.Time{}, time.Hour},
		{"first after a short interval", time.Minute, time.Hour, time.Time{}, time.Minute},
		{"then by the interval", 24 * time.Hour, time.Hour, opened.Add(time.Hour), 25 * time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := schedule{opened: opened, last: row.last}
			if got := s.next(Schedule{Interval: row.interval, Grace: row.grace}).Sub(opened); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// Until a collection has ended it is not known what waits, and after one that failed neither.
func TestTheCollectorIsShown(t *testing.T) {
	opened := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	done := control.Collected{
		Private: store.Collected{Blobs: 2, Bytes: 20, Waiting: store.Amount{Objects: 1, Bytes: 7}},
		Mirrors: store.Collected{Blobs: 1, Bytes: 1, Waiting: store.Amount{Objects: 1, Bytes: 3}},
	}
	for _, row := range []struct {
		name, want string
		schedule
	}{
		{"none has run", `{"next":"2026-11-23T13:00:00Z"}`, schedule{opened: opened}},
		{
			"one has run", `{"next":"2026-11-24T13:00:00Z","ended":"2026-11-23T13:00:00Z",` +
				`"freed":{"objects":3,"bytes":21},"waiting":{"objects":2,"bytes":10}}`,
			schedule{opened: opened, last: opened.Add(time.Hour), done: done},
		},
		{
			"one failed", `{"next":"2026-11-24T13:00:00Z","ended":"2026-11-23T13:00:00Z","early":true,` +
				`"freed":{"objects":3,"bytes":21}}`,
			schedule{opened: opened, last: opened.Add(time.Hour), done: done, early: true},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := json.Marshal(row.schedule.shown(Schedule{Interval: 24 * time.Hour, Grace: time.Hour}))
			if err != nil || string(got) != row.want {
				t.Errorf("got %s, %v, want %s", got, err, row.want)
			}
		})
	}
}
