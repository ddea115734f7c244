//go:build linux

package blockcut_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// The size of one round: enough clients that their syncs wait for each other.
const (
	clients    = 24
	operations = 12 // of each
	cuts       = 6
)

// round is one run and some of the power cuts that may have ended it.
type round struct {
	t       testing.TB
	kind    blockcut.Kind
	before  *blockcut.Disk // the disk at the start of the run
	seed    uint64
	options options
}

// tally counts what the rounds checked.
type tally struct {
	runs, cuts int
	groups     int // syncs of everything at once
	unflushed  int // writes that a cut might lose
	names      int // that were known
}

// play returns the losses that were found. An error means that the test itself failed.
func (r round) play(sum *tally) (losses []string, err error) {
	rng := rand.New(rand.NewPCG(r.seed, 1))
	disk := r.before.Clone()
	m, err := boot(r.t, r.kind, disk, r.options)
	if err != nil {
		return nil, err
	}
	var cs []*powercut.Client
	for id := range clients {
		cs = append(cs, powercut.NewClient(id, r.seed, disk.Position))
	}
	begin := disk.Position()
	moments, err := m.work(cs, operations, mixed)
	sum.groups += int(m.storage.Stats().Groups)
	if err != nil {
		m.stop()
		return nil, fmt.Errorf("on a good disk: %w", err)
	}
	if err := m.stop(); err != nil {
		return nil, err
	}
	sum.runs++
	for range cuts {
		at := begin + rng.IntN(disk.Position()-begin+1) // any moment
		if rng.IntN(4) > 0 {
			at = worst(disk, moments, rng)
		}
		sum.cuts++
		sum.unflushed += disk.Unflushed(at)
		if losses := r.cut(disk, at, cs, rng, sum); len(losses) > 0 {
			return losses, nil
		}
	}
	return nil, nil
}

// worst is a moment just after an answer: of some, the one with most at stake.
func worst(disk *blockcut.Disk, moments []int, rng *rand.Rand) (at int) {
	for range 4 {
		if m := moments[rng.IntN(len(moments))]; at == 0 || disk.Unflushed(m) > disk.Unflushed(at) {
			at = m
		}
	}
	return at
}

// cut opens the registry on the disk after a cut and looks for losses. Some of the clients then
// push again what they tried last, and skip blobs that the registry claims to have; the power
// fails at once, and the pushed content must be there.
func (r round) cut(disk *blockcut.Disk, at int, cs []*powercut.Client, rng *rand.Rand, sum *tally) []string {
	found := disk.Cut(at, rng)
	m, err := boot(r.t, r.kind, found, r.options)
	if err != nil {
		return []string{err.Error()}
	}
	defer m.stop()
	var ledgers []*powercut.Ledger
	for _, c := range cs {
		ledgers = append(ledgers, c.Ledger.AsOf(at))
		sum.names += ledgers[len(ledgers)-1].Len()
	}
	if losses := m.losses(ledgers); len(losses) > 0 {
		return named(losses, fmt.Sprintf("cut at %d of %d", at, disk.Position()))
	}
	again := powercut.NewLedger(nil)
	for _, c := range cs[:2] {
		pusher := c.Again(r.seed, again)
		pusher.Registry = m.Store
		retry := *c.Images[len(c.Images)-1]
		retry.Put.CreateOnly = false
		if err := pusher.Push(context.Background(), &retry); err != nil {
			return []string{fmt.Sprintf("again after the cut: %v", err)}
		}
	}
	after, err := boot(r.t, r.kind, found.Cut(found.Position(), rng), r.options)
	if err != nil {
		return []string{err.Error()}
	}
	defer after.stop()
	return named(after.losses([]*powercut.Ledger{again}), "pushed again, then cut")
}

func named(losses []string, what string) []string {
	slices.Sort(losses)
	for i := range losses {
		losses[i] = what + ": " + losses[i]
	}
	return losses
}

// used is a disk on which a registry ran and was stopped cleanly.
func used(t testing.TB, k blockcut.Kind, empty *blockcut.Disk) *blockcut.Disk {
	t.Helper()
	disk := empty.Clone()
	m, err := boot(t, k, disk, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	return disk.Clone()
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			empty := format(t, k)
			disks := []*blockcut.Disk{empty, used(t, k, empty)}
			var sum tally
			start := time.Now()
			enough := func() bool {
				spent := time.Since(start)
				return spent > budget(t, 8*time.Second) && (sum.groups > 0 || spent > patience)
			}
			for seed := uint64(0); seed < uint64(len(disks)) || !enough(); seed++ {
				writeOthers(t)
				r := round{t: t, kind: k, before: disks[seed%2], seed: seed}
				losses, err := r.play(&sum)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for _, loss := range losses {
					t.Errorf("seed %d: %s", seed, loss)
				}
				if t.Failed() {
					return
				}
			}
			if sum.unflushed == 0 || sum.names == 0 || sum.groups == 0 {
				t.Error("this tests nothing without an unflushed write, a name and a group")
			}
			t.Logf("%d runs with %d groups, %d cuts that %d unflushed writes met, %d names", sum.runs, sum.groups, sum.cuts, sum.unflushed, sum.names)
		})
	}
}

// writeOthers makes the kernel write the unwritten data of other programs, most likely of a
// build: the storage makes no groups while there is much of it.
func writeOthers(t testing.TB) {
	t.Helper()
	for _, path := range []string{"/", os.TempDir()} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			t.Log(path, err) // about their files
		}
		f.Close()
	}
}
