package rounds_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core/rounds"
)

func TestRoundsRestInProportionToTheirLength(t *testing.T) {
	for _, row := range []struct {
		name  string
		takes time.Duration
		poke  time.Duration // after the start; 0: never
		want  []time.Duration
	}{
		{"nothing asks for one", time.Second, 0, []time.Duration{0, 601 * time.Second, 1202 * time.Second}},
		{"one is asked for while the last rests", time.Second, 5 * time.Second,
			[]time.Duration{0, 11 * time.Second, 612 * time.Second}},
		{"one is asked for after the rest", time.Second, time.Minute, []time.Duration{0, time.Minute, 661 * time.Second}},
		{"one is asked for while another runs", time.Second, 500 * time.Millisecond,
			[]time.Duration{0, 11 * time.Second, 612 * time.Second}},
		{"the least rest", 0, time.Second, []time.Duration{0, 2 * time.Second, 602 * time.Second}},
		{"rounds that take long", 2 * time.Minute, time.Minute, []time.Duration{0, 22 * time.Minute, 44 * time.Minute}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, got := time.Now(), make(chan time.Duration, len(row.want))
				r := rounds.Start(func(ctx context.Context) {
					select {
					case got <- time.Since(begun):
					default:
					}
					select {
					case <-time.After(row.takes):
					case <-ctx.Done():
					}
				})
				defer r.Close()
				if row.poke > 0 {
					time.AfterFunc(row.poke, r.Poke)
				}
				var times []time.Duration
				for range row.want {
					times = append(times, <-got)
				}
				if !slices.Equal(times, row.want) {
					t.Errorf("rounds began at %v, want %v", times, row.want)
				}
			})
		})
	}
}

func TestCloseEndsARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rounds.Start(func(ctx context.Context) { <-ctx.Done() })
		r.Close() // would hang
	})
}
