package running

import (
	"testing"
	"time"
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
