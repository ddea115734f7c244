package upstream

import (
	"net/http"
	"testing"
	"time"
)

// A window is taken from either header, and however long it is claimed to be, it ends
// within a day.
func TestWindowOfAPullLimit(t *testing.T) {
	for _, tt := range []struct {
		name        string
		limit, left string
		want        time.Duration
	}{
		{"of Docker Hub", "100;w=21600", "76;w=21600", 6 * time.Hour},
		{"of a day", "100;w=86400", "0;w=86400", 24 * time.Hour},
		{"in the second header only", "", "0;w=60", time.Minute},
		{"that is not said", "100", "0", 0},
		{"longer than a day", "100;w=86401", "0;w=86401", 24 * time.Hour},
		{"of 68 years", "100;w=2147483647", "0;w=2147483647", 24 * time.Hour},
		{"of 68 years, in the second header only", "", "0;w=2147483647", 24 * time.Hour},
		{"of 68 years, said twice", "100;w=60;w=2147483647", "0", 24 * time.Hour},
		{"too long for a number", "100;w=99999999999999999999", "0", 0},
		{"of the past", "100;w=-1", "0;w=-1", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l limits
			l.note(true, http.Header{"Ratelimit-Limit": {tt.limit}, "Ratelimit-Remaining": {tt.left}})
			if got := l.get(true); got.At.IsZero() || got.Window != tt.want {
				t.Errorf("got %+v, want a window of %s", got, tt.want)
			}
		})
	}
}
