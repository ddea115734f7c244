package store_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An actor is a caller of the store whose bucket operations are scheduled.
type actor struct {
	name string
	run  func(ctx context.Context)
}

type actorKey struct{}

// schedule lets one bucket operation of the actors happen at a time, in an order
// that choose decides. It is the before of a memory.
type schedule struct {
	choose func(options []*step) int

	mu     sync.Mutex
	parked []*step // operations that wait for their turn; guarded by mu
	done   int     // actors that have returned; guarded by mu
}

type step struct {
	actor, op string
	turn      chan struct{}
}

func (s *step) String() string { return s.actor + ": " + s.op }

// before parks the operation until it is chosen. An operation that no actor asked
// for (the index being rebuilt) is not held.
func (s *schedule) before(ctx context.Context, op string) error {
	name, ok := ctx.Value(actorKey{}).(string)
	if !ok {
		return nil
	}
	st := &step{actor: name, op: op, turn: make(chan struct{})}
	s.mu.Lock()
	s.parked = append(s.parked, st)
	s.mu.Unlock()
	<-st.turn
	return nil
}

// run starts the actors and returns what happened, in order, when all have ended.
// It fails when no actor can go on.
func (s *schedule) run(ctx context.Context, actors []actor) (trace []*step, err error) {
	for _, a := range actors {
		go func() {
			ctx := context.WithValue(ctx, actorKey{}, a.name)
			_ = s.before(ctx, "begins") // before never fails
			a.run(ctx)
			s.mu.Lock()
			s.done++
			s.mu.Unlock()
		}()
	}
	for {
		if err := s.settle(len(actors)); err != nil {
			return trace, err
		}
		s.mu.Lock()
		options, done := slices.Clone(s.parked), s.done
		s.mu.Unlock()
		if len(options) == 0 {
			if done < len(actors) {
				return trace, fmt.Errorf("%d of %d actors wait for each other", len(actors)-done, len(actors))
			}
			return trace, nil
		}
		slices.SortFunc(options, func(a, b *step) int {
			return cmp.Or(strings.Compare(a.actor, b.actor), strings.Compare(a.op, b.op))
		})
		next := options[s.choose(options)]
		s.mu.Lock()
		s.parked = slices.DeleteFunc(s.parked, func(st *step) bool { return st == next })
		s.mu.Unlock()
		trace = append(trace, next)
		close(next.turn)
	}
}

// settle returns when every other goroutine waits: at its next operation, for a lock, or
// for work. There is one processor, so that none of them runs while this goroutine does:
// all of them wait when none is ready to run, is in a system call, or is between the two.
func (s *schedule) settle(actors int) error {
	const most = 5 * time.Minute // a disk may be busy
	counts := []metrics.Sample{
		{Name: "/sched/goroutines/runnable:goroutines"},
		{Name: "/sched/goroutines/not-in-go:goroutines"}, // in system calls
	}
	dump := make([]byte, 1<<18)
	for begun := time.Now(); time.Since(begun) < most; {
		runtime.Gosched()
		if metrics.Read(counts); counts[0].Value.Uint64()+counts[1].Value.Uint64() > 0 {
			continue
		}
		// The counts miss a goroutine that is about to return from a system call. A dump
		// of all stacks does not, but it is slow, and needed only while an actor is absent,
		// as one that waits for a lock.
		if s.present() == actors || quiet(dump[:runtime.Stack(dump, true)]) {
			return nil
		}
	}
	return fmt.Errorf("goroutines do not come to rest:\n%s", dump[:runtime.Stack(dump, true)])
}

// present counts the actors that have returned or wait for their turn.
func (s *schedule) present() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := map[string]bool{}
	for _, st := range s.parked {
		waiting[st.actor] = true
	}
	return s.done + len(waiting)
}

// quiet reports whether in a dump of all stacks only the goroutine that took it runs.
func quiet(dump []byte) bool {
	waits := []string{"chan receive", "chan send", "select", "sync.", "coroutine", "finalizer wait"}
	busy := -1 // this goroutine is running
	for line := range bytes.Lines(dump) {
		rest, ok := bytes.CutPrefix(line, []byte("goroutine "))
		if !ok {
			continue
		}
		_, state, _ := strings.Cut(string(rest), "[")
		if !slices.ContainsFunc(waits, func(w string) bool { return strings.HasPrefix(state, w) }) {
			busy++
		}
	}
	return busy == 0
}

// explorer enumerates schedules. One is the list of choices made; the next is the
// list with its last possible choice raised. Choice 0 lets the actor go on that ran
// last, and any other while it could go on is a preemption: races need few of them,
// so bounding their number keeps the enumeration complete where it matters.
type explorer struct {
	preemptions int
	choices     []choice
	depth       int
	spent       int // preemptions in the schedule so far
	last        string
}

type choice struct{ taken, options int }

// next begins another schedule and reports whether there is one.
func (e *explorer) next() bool {
	for len(e.choices) > 0 && e.choices[len(e.choices)-1].taken+1 >= e.choices[len(e.choices)-1].options {
		e.choices = e.choices[:len(e.choices)-1]
	}
	if len(e.choices) == 0 {
		return false
	}
	e.choices[len(e.choices)-1].taken++
	return true
}

// choose offers the first operation of each actor.
func (e *explorer) choose(options []*step) int {
	var firsts []int
	for i, st := range options {
		if i == 0 || options[i-1].actor != st.actor {
			firsts = append(firsts, i)
		}
	}
	running := slices.IndexFunc(firsts, func(i int) bool { return options[i].actor == e.last })
	if running > 0 {
		firsts[0], firsts[running] = firsts[running], firsts[0]
	}
	if e.depth == len(e.choices) {
		c := choice{options: len(firsts)}
		if running >= 0 && e.spent == e.preemptions {
			c.options = 1
		}
		e.choices = append(e.choices, c)
	}
	// A store that walks over a map may take another way than the last time.
	taken := min(e.choices[e.depth].taken, len(firsts)-1)
	e.depth++
	if running >= 0 && taken > 0 {
		e.spent++
	}
	e.last = options[firsts[taken]].actor
	return firsts[taken]
}

// explore runs once under every schedule with at most so many preemptions, and then
// under some chosen at random, where also the parallel parts of one actor are
// mixed. It stops at the first that fails.
func explore(t *testing.T, preemptions, random int, once func(choose func([]*step) int) ([]*step, error)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // settle relies on it
	report := func(trace []*step, err error) {
		var b strings.Builder
		for _, st := range trace {
			fmt.Fprintln(&b, "  ", st)
		}
		t.Fatalf("%v\nafter\n%s", err, b.String())
	}
	count := 0
	for e := (&explorer{preemptions: preemptions}); ; count++ {
		e.depth, e.spent, e.last = 0, 0, ""
		if trace, err := once(e.choose); err != nil {
			report(trace, err)
		}
		if !e.next() {
			break
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range random {
		if trace, err := once(func(options []*step) int { return rng.IntN(len(options)) }); err != nil {
			report(trace, err)
		}
	}
	t.Logf("%d schedules with at most %d preemptions, %d at random", count+1, preemptions, random)
}
