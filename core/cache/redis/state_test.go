package redis

import (
	"errors"
	"log/slog"
	"testing"
)

func TestState(t *testing.T) {
	gone := errors.New("gone")
	for _, row := range []struct {
		name     string
		cluster  bool
		answered bool
		down     int // breakers
		want     State
	}{
		{"nothing was asked", false, false, 0, StateUnknown},
		{"it has answered", false, true, 0, StateOK},
		{"it never answered", false, false, 1, StateAway},
		{"it does not answer any more", false, true, 1, StateAway},
		{"some nodes do not answer", true, true, 3, StatePartly},
		{"some nodes do not answer, and the others were not asked", true, false, 3, StateAway},
		{"no node answers", true, true, slots / slotsShare, StateAway},
	} {
		c := &Cache{breakers: newBreakers(row.cluster, slog.New(slog.DiscardHandler))}
		c.answered.Store(row.answered)
		for i := range row.down {
			c.breakers[i].leave(false, gone)
		}
		if got := c.State(); got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
}
