package fusefs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/verify"
	"github.com/eblume/caddy-registry/integration/fusefs"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// quarantine verifies a machine's store, with repair.
func quarantine(m *machine) (*verify.Report, error) {
	b, err := m.storage.Bucket("private")
	if err != nil {
		return nil, err
	}
	v := verify.New(context.Background(), verify.Config{Trees: []verify.Tree{{Name: "private", Store: m.Store}}, State: b})
	defer v.Close()
	v.SetSettings(verify.Settings{Rate: 1 << 30})
	return v.Run(context.Background(), verify.Options{Repair: true})
}

// A push after the damaged content went to the quarantine is as durable as any other, and
// the damaged content never replaces it again.
func TestAHealedImageSurvivesAPowerCut(t *testing.T) {
	end := time.Now().Add(budget(t, 3*time.Second))
	for seed := uint64(0); seed == 0 || time.Now().Before(end); seed++ {
		disk := fusefs.New(fusefs.Options{})
		m, err := boot(t, disk, syncs{})
		if err != nil {
			t.Fatal(err)
		}
		c := powercut.NewClient(0, seed, nil)
		c.Registry = m.Store
		for range repairs {
			err := c.Heal(t.Context(), filepath.Join(m.storage.Path(), "private"), func(context.Context) error {
				report, err := quarantine(m)
				if err == nil && (report.Moved == 0 || report.Found.Trouble > 0) {
					err = fmt.Errorf("got %+v, want something moved and no trouble", report)
				}
				return err
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		after := disk.Cut(rand.New(rand.NewPCG(seed, 8)))
		_ = m.stop() // its disk is dead
		if m, err = boot(t, after, syncs{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, loss := range c.Ledger.Losses(m.Store) {
			t.Errorf("seed %d: %s", seed, loss)
		}
		if err := m.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
}

// Reads that fail are the disk's trouble and not damage.
func TestFailedReadsAreNotDamage(t *testing.T) {
	disk := fusefs.New(fusefs.Options{})
	m, err := boot(t, disk, syncs{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.stop()
	c := powercut.NewClient(0, 0, nil)
	c.Registry = m.Store
	img := c.NewImage()
	if err := c.Push(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	content := func(path string) bool { return strings.HasPrefix(path, "data/private/objects/blobs/") }
	disk.FailReads(content)
	report, err := quarantine(m)
	if err != nil || report.Found.Damaged > 0 || report.Found.Trouble == 0 || report.Moved > 0 {
		t.Errorf("with reads that fail: %+v, %v, want trouble alone", report, err)
	}
	disk.FailReads(nil)
	if err := powercut.Whole(m.Store, img.Repo, core.Reference{Digest: img.Digest()}, true); err != nil {
		t.Error(err)
	}
	report, err = quarantine(m)
	if err != nil || report.Found != (verify.Found{}) {
		t.Errorf("when the disk works again: %+v, %v", report, err)
	}
}
