// Package rounds repeats work that looks at all of a storage in the background: every ten
// minutes, and soon after it was asked for. After each round it rests ten times as long as the
// round took, so that a large storage is not busy with being looked at.
//
//	r := rounds.Start(func(ctx context.Context) { … })
//	defer r.Close()
//	r.Poke()
package rounds

import (
	"context"
	"sync"
	"time"
)

const (
	// interval is the time between two rounds, if nothing asks for one.
	interval = 10 * time.Minute
	// leastRest is the least time between two rounds, and share how many times its own
	// length a round is followed by rest.
	leastRest = 2 * time.Second
	share     = 10
)

// Rounds is work that is repeated. It is safe for concurrent use.
type Rounds struct {
	wake       chan struct{}
	stop       context.CancelFunc
	background sync.WaitGroup
}

// Start begins the first round. The context of a round ends with Close.
func Start(round func(ctx context.Context)) *Rounds {
	ctx, stop := context.WithCancel(context.Background())
	r := &Rounds{wake: make(chan struct{}, 1), stop: stop}
	r.background.Go(func() { r.run(ctx, round) })
	return r
}

// Poke has a round begin as soon as the rest after the last one is over. It does not block.
func (r *Rounds) Poke() {
	select {
	case r.wake <- struct{}{}:
	default: // a round will begin
	}
}

// Close ends the rounds, and waits for the one that runs.
func (r *Rounds) Close() {
	r.stop()
	r.background.Wait()
}

func (r *Rounds) run(ctx context.Context, round func(ctx context.Context)) {
	for {
		select {
		case <-r.wake: // this round answers what was asked for until now
		default:
		}
		begun := time.Now()
		round(ctx)
		rest := max(leastRest, share*time.Since(begun))
		if !sleep(ctx, rest, nil) || !sleep(ctx, max(0, interval-rest), r.wake) {
			return
		}
	}
}

// sleep returns early when it is woken, and is false when ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
