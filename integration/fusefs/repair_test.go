package fusefs_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/fusefs"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// repairs is how often content is damaged and pushed again before the cut.
const repairs = 3

// TestARepairSurvivesAPowerCut damages stored content and pushes it again. The replacement is
// as durable as any push, because it was synced before.
func TestARepairSurvivesAPowerCut(t *testing.T) {
	honest := &saboteur{}
	end := time.Now().Add(budget(t, 5*time.Second))
	seed := uint64(0)
	for ; seed == 0 || time.Now().Before(end); seed++ {
		if losses := repaired(t, seed, honest); len(losses) > 0 {
			t.Fatalf("seed %d: %s", seed, losses[0])
		}
	}
	t.Logf("%d rounds", seed)

	// The same without the sync of the replacement.
	skipped := false
	for site := range honest.calls {
		if !strings.HasPrefix(site, "(*upload).Commit") {
			continue
		}
		skipped = true
		liar := &saboteur{skip: site}
		noticed := false
		for seed := uint64(0); seed < maxSeeds && !noticed; seed++ {
			noticed = len(repaired(t, seed, liar)) > 0
		}
		if !noticed {
			t.Errorf("%s: skipped without a loss", site)
		}
	}
	if !skipped {
		t.Errorf("no commit synced anything, of %v", honest.calls)
	}
}

// repaired returns the losses of one round.
func repaired(t *testing.T, seed uint64, how *saboteur) []string {
	t.Helper()
	disk := fusefs.New(fusefs.Options{})
	m, err := boot(t, disk, syncs{one: how.sync})
	if err != nil {
		t.Fatal(err)
	}
	c := powercut.NewClient(0, seed, nil)
	c.Registry = m.Store
	for range repairs {
		if err := c.Repair(context.Background(), filepath.Join(m.storage.Path(), "private")); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	after := disk.Cut(rand.New(rand.NewPCG(seed, 7)))
	_ = m.stop() // its disk is dead
	m, err = boot(t, after, syncs{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	defer m.stop()
	return c.Ledger.Losses(m.Store)
}
