package identity

import (
	"slices"
	"testing"
	"time"
)

func TestAKeyIsAnnouncedOnceADayUntilItsEnd(t *testing.T) {
	const day = 24 * time.Hour
	m := start(t)
	make := func(life time.Duration) string {
		_, key, err := m.Keys().Create(t.Context(), NewKey{User: "ci", Service: true, Lifetime: life})
		if err != nil {
			t.Fatal(err)
		}
		return key.ID
	}
	soon, revoked := make(16*day), make(2*day)
	make(80 * day)
	make(time.Nanosecond)
	if _, err := m.Keys().Revoke(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	m.clock.advance(time.Second)
	var days []int
	for hour := range 24 * 20 {
		due, err := m.Keys().Announce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range due {
			if key.ID != soon {
				t.Errorf("hour %d: announced %+v", hour, key)
			}
			days = append(days, hour/24)
		}
		if hour%30 == 7 { // a restart announces nothing again
			m.stop()
			m.run()
		}
		m.clock.advance(time.Hour)
	}
	// From 14 days before its end, which is on day 16.
	if want := []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; !slices.Equal(days, want) {
		t.Errorf("announced on days %v, want %v", days, want)
	}
	for info, err := range m.bucket.List(t.Context(), announcedPrefix, "") {
		t.Errorf("%s is remembered without need, %v", info.Key, err)
	}
}
