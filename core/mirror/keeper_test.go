package mirror_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// keeper records what it is called with, and answers as a test says.
type keeper struct {
	mu     sync.Mutex
	room   func(size int64) bool
	pulled []digest.Digest
	kept   int64
}

func (k *keeper) Pulled(_ string, d digest.Digest, _, _ string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pulled = append(k.pulled, d)
}

// pulls returns how many pulls were counted.
func (k *keeper) pulls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.pulled)
}

func (k *keeper) Room(size int64) bool { return k.room(size) }

func (k *keeper) Kept(_ string, size int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept += size
}

func TestAMirrorServesOnWithoutKeeping(t *testing.T) {
	size := int64(len(layer))
	for _, row := range []struct {
		name string
		room func(asked int, size int64) bool
		kept int64
		gets int
	}{
		{"there is room", func(int, int64) bool { return true }, size, 1},
		{"there is none", func(int, int64) bool { return false }, 0, 1},
		// The first look is before the upstream's answer, and that says the size.
		{"there is too little", func(asked int, missing int64) bool { return asked == 0 || missing < size }, 0, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			asked := 0
			k := &keeper{room: func(size int64) bool { asked++; return row.room(asked-1, size) }}
			f := start(t, mirror.Settings{})
			f.keeper = k
			f.stop()
			f.open(t, mirror.Settings{})
			got, err := read(f, fetch, repo, f.blob)
			if err != nil || !bytes.Equal(got, layer) {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
			if n := len(f.up.Requests()); n != row.gets {
				t.Errorf("the upstream saw %d requests, want %d", n, row.gets)
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.kept != row.kept {
				t.Errorf("%d bytes were kept, want %d", k.kept, row.kept)
			}
		})
	}
}

func TestAPullMarksTheManifestThatWasAskedFor(t *testing.T) {
	k := &keeper{room: func(int64) bool { return true }}
	f := start(t, mirror.Settings{TTL: time.Hour})
	f.keeper = k
	f.stop()
	f.open(t, mirror.Settings{TTL: time.Hour})
	ask := func(ctx context.Context, ref core.Reference) {
		_, _ = f.Resolve(ctx, repo, ref)
	}
	ask(fetch, latest)
	ask(fetch, core.Reference{Digest: f.image})
	fault := f.up.Fault(upstreamtest.Fault{Status: 500})
	ask(context.Background(), latest)
	ask(fetch, core.Reference{Tag: "none"})
	fault.Lift()
	if want := []digest.Digest{f.image, f.image, f.image}; !slices.Equal(k.pulled, want) {
		t.Errorf("marked %v, want %v", k.pulled, want)
	}
}
