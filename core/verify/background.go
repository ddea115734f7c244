package verify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

const (
	// StateKey is where State remembers the last run.
	StateKey = "verify/state"
	// saveEvery is how often a background run saves its progress: after a restart, the content
	// read since then is read again.
	saveEvery = time.Minute
)

// progress is how far the run in the background is, or when it ended. It is a hint: damaged or lost,
// a run begins at once.
type progress struct {
	Finished time.Time `json:"finished,omitzero"` // the last run over everything
	// Started is when the present run began; zero: none is under way. Tree and Part are how far it is.
	Started time.Time  `json:"started,omitzero"`
	Tree    string     `json:"tree,omitempty"`
	Part    store.Part `json:"part,omitempty"`
}

func (v *Verifier) recall(ctx context.Context) (p progress) {
	data, _, err := v.State.Get(ctx, StateKey)
	if errors.Is(err, bucket.ErrNotExist) {
		return progress{}
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if now := time.Now(); err != nil || p.Finished.After(now) || p.Started.After(now) {
		v.Log.Warn("record of the last verification cannot be used; the next one begins anew", "error", err)
		return progress{}
	}
	return p
}

// remember changes the progress.
func (v *Verifier) remember(ctx context.Context, p progress) {
	v.mu.Lock()
	v.progress = p
	v.mu.Unlock()
	data, err := json.Marshal(p)
	if err == nil {
		_, err = v.State.Put(context.WithoutCancel(ctx), StateKey, data, bucket.Condition{})
	}
	if err != nil {
		v.Log.Warn("record of the last verification cannot be written", "error", err)
	}
}

// finish notes the end of a run over everything. One that repaired is as good as the run
// in the background, if that is not under way.
func (v *Verifier) finish(ctx context.Context, repaired bool) {
	now := time.Now().UTC()
	v.mu.Lock()
	v.stats.Finished = now
	record := repaired && v.end == nil
	v.mu.Unlock()
	if record {
		v.remember(ctx, progress{Finished: now})
		v.poke()
	}
}

// poke makes the background loop check the schedule again.
func (v *Verifier) poke() {
	select {
	case v.wake <- struct{}{}:
	default: // it will be
	}
}

// wait returns the time until the next background run; false: none is scheduled.
func (v *Verifier) wait() (time.Duration, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.every == 0 {
		return 0, false
	}
	if !v.progress.Started.IsZero() || v.progress.Finished.IsZero() {
		return 0, true
	}
	return time.Until(v.progress.Finished.Add(v.every)), true
}

// schedule runs in the background until v stops.
func (v *Verifier) schedule() {
	if err := v.countQuarantine(v.life); err != nil && v.life.Err() == nil {
		v.Log.Warn("quarantine cannot be counted", "error", err)
	}
	for v.life.Err() == nil {
		var due <-chan time.Time
		var timer *time.Timer
		if wait, ok := v.wait(); ok {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-v.life.Done():
		case <-v.wake:
		case <-due:
			v.runNow()
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// runNow is the background run: it continues where the last one was interrupted.
func (v *Verifier) runNow() {
	ctx, end := context.WithCancel(v.life)
	defer end()
	v.mu.Lock()
	if v.every == 0 { // since the timer fired
		v.mu.Unlock()
		return
	}
	v.end = end
	from := v.progress
	v.mu.Unlock()
	if from.Started.IsZero() {
		from = progress{Finished: from.Finished, Started: time.Now().UTC()}
		v.remember(ctx, from)
	}
	if !v.known(from) {
		from.Tree, from.Part = "", ""
	}
	at := &place{from: from, now: from, saved: time.Now()}
	report, err := v.run(ctx, Options{Repair: true}, func(tree Tree, part store.Part) bool {
		skip := at.pass(tree, part)
		if !skip && time.Since(at.saved) >= saveEvery {
			v.remember(ctx, at.now)
			at.saved = time.Now()
		}
		return skip
	})
	v.mu.Lock()
	v.end = nil
	v.mu.Unlock()
	if err != nil {
		v.remember(ctx, at.now)
		return // only the end of ctx ends a run
	}
	now := time.Now().UTC()
	v.mu.Lock()
	v.stats.Finished = now
	v.mu.Unlock()
	v.remember(ctx, progress{Finished: now})
	v.ended(report)
}

// ended reports that a run over everything has ended.
func (v *Verifier) ended(report *Report) {
	if v.Ended != nil {
		v.Ended(report)
	}
}

// known reports whether p is at a place that a run reaches.
func (v *Verifier) known(p progress) bool {
	return slices.ContainsFunc(v.Trees, func(tree Tree) bool { return tree.Name == p.Tree }) && slices.Contains(store.Parts(), p.Part)
}

// place is where a run in the background is.
type place struct {
	from, now progress
	saved     time.Time
	reached   bool // where the last run was cut off
}

// pass notes that the run has reached a part, and reports whether the interrupted run has read
// it.
func (p *place) pass(tree Tree, part store.Part) (skip bool) {
	if p.from.Tree == "" || p.from.Tree == tree.Name && p.from.Part == part {
		p.reached = true
	}
	if p.reached {
		p.now.Tree, p.now.Part = tree.Name, part
	}
	return !p.reached
}
