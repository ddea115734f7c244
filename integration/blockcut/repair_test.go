//go:build linux

package blockcut_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// TestARepairSurvivesAPowerCut damages stored content, pushes it again and cuts the power at
// the moment of the answer. It would detect files that were not synced.
func TestARepairSurvivesAPowerCut(t *testing.T) {
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			before := used(t, k, format(t, k))
			seed := uint64(0)
			for start := time.Now(); seed == 0 || time.Since(start) < budget(t, 3*time.Second); seed++ {
				if losses := repaired(t, k, before, seed, nil); len(losses) > 0 {
					t.Fatalf("seed %d: %s", seed, losses[0])
				}
			}
			t.Logf("%d runs", seed)
			noFiles := replaced(unless(func(fi os.FileInfo) bool { return fi.Mode().IsRegular() }))
			var losses []string
			for seed = 0; len(losses) == 0; seed++ {
				if seed == maxUnnoticed {
					t.Fatalf("files were not synced in %d runs without a loss", seed)
				}
				losses = repaired(t, k, before, seed, noFiles)
			}
			t.Logf("seed %d without syncs of files: %s", seed-1, losses[0])
		})
	}
}

// maxUnnoticed is the number of runs without syncs of files, of which the first showed
// a loss whenever this was tried.
const maxUnnoticed = 20

// repaired returns the losses of one run, in cuts at the moments of its answers.
func repaired(t *testing.T, k blockcut.Kind, before *blockcut.Disk, seed uint64, how options) (losses []string) {
	t.Helper()
	const repairs = 4
	disk := before.Clone()
	m, err := boot(t, k, disk, how)
	if err != nil {
		t.Fatal(err)
	}
	c := powercut.NewClient(0, seed, disk.Position)
	c.Registry = m.Store
	var moments []int
	for range repairs {
		if err := c.Repair(context.Background(), filepath.Join(m.storage.Path(), "private")); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		moments = append(moments, disk.Position())
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, at := range moments {
		m, err := boot(t, k, disk.Cut(at, rng), nil)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, m.losses([]*powercut.Ledger{c.Ledger.AsOf(at)})...)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	return losses
}
