package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/integration/fusefs"
	"github.com/eblume/caddy-registry/integration/powercut"
)

// A sync that fails is an error for the client and costs nothing that was
// acknowledged. The same push works when the disk does.
func TestFailedSync(t *testing.T) {
	tests := []struct {
		name string
		hit  func(path string) bool
	}{
		{"of anything", func(string) bool { return true }},
		{"of uploaded bytes", under("private/uploads", "private/pending")},
		{"of small objects", under("private/tmp")},
		{"of directories of content and links", under("private/objects/blobs")},
		{"of directories of manifests", under("private/objects/manifests")},
		{"of directories of tags and referrers", under("private/objects/repos")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := time.Now().Add(budget(t, 3*time.Second))
			var failures int64
			for seed := uint64(0); time.Now().Before(end); seed++ {
				failures += failingRound(t, seed, tt.hit)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			if failures == 0 {
				t.Error("no sync failed: the row tests nothing")
			}
		})
	}
}

func under(prefixes ...string) func(string) bool {
	return func(path string) bool {
		for _, prefix := range prefixes {
			if strings.HasPrefix(path, "data/"+prefix) {
				return true
			}
		}
		return false
	}
}

// failingRound runs clients while one in four of the syncs that hit names fails, and returns
// the number of failures.
func failingRound(t *testing.T, seed uint64, hit func(string) bool) int64 {
	disk := fusefs.New(fusefs.Options{})
	m, err := boot(t, disk, syncs{})
	if err != nil {
		t.Fatal(err)
	}
	var failures atomic.Int64
	rng := rand.New(rand.NewPCG(seed, 2)) // used under the disk's lock
	disk.OnSync(func(path string) fusefs.Outcome {
		if hit(path) && rng.IntN(4) == 0 {
			failures.Add(1)
			return fusefs.Fail
		}
		return fusefs.Durable
	})
	var cs []*powercut.Client
	for id := range clients {
		cs = append(cs, powercut.NewClient(id, seed, nil))
	}
	if err := run(m, cs, 10, core.ErrUnavailable); err != nil {
		t.Errorf("while syncs fail: %v", err)
	}
	for _, c := range cs {
		for _, loss := range c.Ledger.Losses(m.Store) {
			t.Errorf("while syncs fail: %s", loss)
		}
	}
	disk.OnSync(nil)
	if err := run(m, cs, 10); err != nil {
		t.Errorf("when the disk works again: %v", err)
	}
	after, err := boot(t, disk.Cut(rand.New(rand.NewPCG(seed, 3))), syncs{})
	m.stop()
	if err != nil {
		t.Fatal(err)
	}
	defer after.stop()
	for _, c := range cs {
		for _, loss := range c.Ledger.Losses(after.Store) {
			t.Errorf("after the cut: %s", loss)
		}
	}
	return failures.Load()
}

// A full disk refuses pushes with ErrNoSpace, keeps its content, and accepts pushes again when
// there is room.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	end := time.Now().Add(budget(t, 4*time.Second))
	for seed := uint64(0); time.Now().Before(end) && !t.Failed(); seed++ {
		disk := fusefs.New(fusefs.Options{})
		m, err := boot(t, disk, syncs{})
		if err != nil {
			t.Fatal(err)
		}
		var cs []*powercut.Client
		for id := range clients {
			cs = append(cs, powercut.NewClient(id, seed, nil))
		}
		rng := rand.New(rand.NewPCG(seed, 4))
		disk.SetLimit(disk.Used() + 4000 + rng.Int64N(40000))
		if err := run(m, cs, 30, core.ErrNoSpace); err != nil {
			t.Errorf("seed %d: on a full disk: %v", seed, err)
		}
		disk.SetLimit(0)
		if err := run(m, cs, 5); err != nil {
			t.Errorf("seed %d: when there is room again: %v", seed, err)
		}
		after, err := boot(t, disk.Cut(rng), syncs{})
		m.stop()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, c := range cs {
			for _, loss := range c.Ledger.Losses(after.Store) {
				t.Errorf("seed %d: after the cut: %s", seed, loss)
			}
		}
		after.stop()
	}
}

func TestFullDiskKeepsNothingHalfWritten(t *testing.T) {
	const repo = "team/app"
	ctx := context.Background()
	disk := fusefs.New(fusefs.Options{})
	m, err := boot(t, disk, syncs{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.stop()
	c := powercut.NewClient(0, 0, nil)
	c.Registry = m.Store
	first := c.NewImage()
	if err := c.Push(ctx, first); err != nil {
		t.Fatal(err)
	}
	before := disk.Used()
	const room = 32 << 10
	disk.SetLimit(before + room)

	large := bytes.Repeat([]byte("x"), 1<<20)
	up, err := m.NewUpload(ctx, repo, digest.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Append(ctx, -1, bytes.NewReader(large)); !errors.Is(err, core.ErrNoSpace) {
		t.Errorf("1 MiB into 32 KiB: got %v, want ErrNoSpace", err)
	}
	// It is dropped at once, so that its bytes do not block other pushes.
	if err := up.Cancel(ctx); !errors.Is(err, core.ErrBlobUploadUnknown) {
		t.Errorf("cancel of an upload that filled the disk: got %v, want ErrBlobUploadUnknown", err)
	}
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	// Only directories and uploads without bytes may stay, for the collector.
	shrinks(t, disk, before+room/4)
	if err := powercut.Whole(m.Store, first.Repo, core.Reference{Digest: first.Digest()}, true); err != nil {
		t.Errorf("an image on a disk that was full: %v", err)
	}
	if err := c.Push(ctx, c.NewImage()); err != nil {
		t.Errorf("a push after an upload that filled the disk: %v", err)
	}
	if _, err := m.Collect(ctx, store.CollectOptions{}); err != nil {
		t.Errorf("collect: %v", err)
	}
}
