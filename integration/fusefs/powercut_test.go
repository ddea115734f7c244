package fusefs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/fusefs"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// The size of one round: large enough that pushes, deletes and collections of several clients
// overlap, and small enough that many rounds fit into a minute.
const (
	clients  = 3
	maxSteps = 1200 // changes of the disk before the cut, at most
	cuts     = 3    // outcomes of one cut that are looked at
)

// fatal is an error that no power cut explains.
type fatal struct{ error }

// run runs clients on m until its disk dies or each has done enough. An
// error of a living disk ends the run, unless faults are expected.
func run(m *machine, cs []*powercut.Client, operations int, expected ...error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make([]error, len(cs))
	var group sync.WaitGroup
	for i, c := range cs {
		c.Registry = m.Store
		group.Go(func() {
			for range operations {
				if errs[i] = unexpected(c.Step(ctx), expected); errs[i] != nil {
					return
				}
			}
		})
	}
	if err := within(func() error { group.Wait(); return nil }); err != nil {
		return fatal{fmt.Errorf("clients: %w", err)}
	}
	select {
	case <-m.disk.Dead():
		return nil
	default:
	}
	if err := errors.Join(errs...); err != nil {
		return fatal{fmt.Errorf("on a good disk: %w", err)}
	}
	return nil
}

// unexpected returns err unless it is one of those expected.
func unexpected(err error, expected []error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// ending is how the first life of a machine ends.
type ending int

const (
	power   ending = iota // the power fails
	killed                // the process is killed; its writes are still visible
	stopped               // the process stops cleanly, and then the power fails
)

// round is one life and what follows: clients work, the machine ends, another
// finds the disk. It returns the losses; an error means that the test itself failed.
type round struct {
	t    testing.TB
	seed uint64
	end  ending
	// early cuts within the first pushes.
	early bool
	// sync replaces the storage's: in groups, or for the test that this test would notice.
	sync syncs
}

// steps bounds the changes before the cut. In half of the rounds it comes within the first
// pushes, when directories are new.
func (r round) steps(rng *rand.Rand) int64 {
	if r.early || rng.IntN(2) == 0 {
		return maxSteps / 12
	}
	return maxSteps
}

func (r round) play() (losses []string, err error) {
	rng := rand.New(rand.NewPCG(r.seed, 1))
	disk := fusefs.New(fusefs.Options{})
	m, err := boot(r.t, disk, r.sync)
	if err != nil {
		return nil, fatal{err}
	}
	var cs []*powercut.Client
	for id := range clients {
		cs = append(cs, powercut.NewClient(id, r.seed, nil))
	}
	if rng.IntN(2) == 0 { // a machine that was stopped cleanly before
		if err := run(m, cs, 2); err != nil {
			return nil, err
		}
		if err := m.stop(); err != nil {
			return nil, fatal{err}
		}
		disk = disk.Restart()
		if m, err = boot(r.t, disk, r.sync); err != nil {
			return nil, fatal{err}
		}
	}
	operations := 100
	if r.end == stopped {
		operations = 5
	} else {
		disk.CutAfter(1 + rng.Int64N(r.steps(rng)))
	}
	err = run(m, cs, operations)
	stopErr := m.stop()
	if r.end == stopped {
		err = errors.Join(err, stopErr)
	}
	if err != nil {
		return nil, err
	}
	for range cuts {
		next := disk.Cut(rng)
		if r.end == killed {
			next = disk.Restart()
		}
		if losses := r.reboot(next, cs, rng); len(losses) > 0 {
			return losses, nil
		}
	}
	return nil, nil
}

// reboot opens the registry on the remains of a disk and looks for losses. Then every client
// pushes again what it tried before, and skips blobs that the registry claims to have; the
// power fails at once, and everything must be there.
func (r round) reboot(disk *fusefs.FS, before []*powercut.Client, rng *rand.Rand) []string {
	m, err := boot(r.t, disk, r.sync)
	if err != nil {
		return []string{err.Error()}
	}
	defer m.stop()
	for _, c := range before {
		if losses := c.Ledger.Losses(m.Store); len(losses) > 0 {
			return losses
		}
	}
	if r.end != stopped && rng.IntN(2) == 0 {
		m.settle()
	}
	// Only the push that was under way, or all: many writes sync directories for each other,
	// and hide a registry that takes visible data for durable.
	lazy := rng.IntN(2) == 0
	again := powercut.NewLedger(nil)
	for _, c := range before {
		pusher := c.Again(r.seed, again)
		pusher.Registry = m.Store
		images := c.Images
		if lazy && len(images) > 0 {
			images = images[len(images)-1:]
		}
		for _, img := range images {
			retry := *img
			retry.Put.CreateOnly = false
			if err := pusher.Push(context.Background(), &retry); err != nil {
				return []string{fmt.Sprintf("again after the reboot: %v", err)}
			}
		}
	}
	after, err := boot(r.t, disk.Cut(rng), r.sync)
	if err != nil {
		return []string{err.Error()}
	}
	defer after.stop()
	losses := again.Losses(after.Store)
	for i, loss := range losses {
		losses[i] = "pushed again, then cut: " + loss
	}
	return losses
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	tests := []struct {
		name string
		end  ending
		sync syncs
	}{
		{"in a power cut", power, syncs{}},
		{"in a kill, then a power cut", killed, syncs{}},
		{"in a power cut after a good stop", stopped, syncs{}},
		{"in a power cut, with syncs as one", power, syncs{all: (*fusefs.FS).SyncAll}},
		{"in a kill, then a power cut, with syncs as one", killed, syncs{all: (*fusefs.FS).SyncAll}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := time.Now().Add(budget(t, 12*time.Second))
			rounds := uint64(0)
			for ; time.Now().Before(end); rounds++ {
				losses, err := round{t: t, seed: rounds, end: tt.end, sync: tt.sync}.play()
				if err != nil {
					t.Fatalf("seed %d: %v", rounds, err)
				}
				for _, loss := range losses {
					t.Errorf("seed %d: %s", rounds, loss)
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d rounds, %d cuts each", rounds, cuts)
		})
	}
}
