package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/store"
)

// timed returns a registry in memory, whose files also have the time that the test moves.
func timed(t *testing.T, settings store.Settings) *registry {
	ahead := &atomic.Int64{}
	now := func() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(ahead.Load())) }
	return &registry{Store: openStore(t, newMemory(now), store.Config{Settings: settings, Now: now}), ahead: ahead}
}

// The first collection after the grace frees, to the byte, what the one before it reported as waiting.
func TestWhatWaitsIsWhatIsFreedNext(t *testing.T) {
	waited := map[store.Amount]struct{}{}
	for seed := range uint64(60) {
		for _, untagged := range []time.Duration{store.KeepUntagged, 5 * time.Minute} {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := timed(t, store.Settings{Grace: time.Hour, Untagged: untagged})
			r.wait(2 * time.Hour)
			for range 3 {
				for range 12 {
					changeSome(t, r, rng)
				}
				r.wait(6 * time.Minute) // no manifest is kept by untagged any more
				left := collect(t, r, store.CollectOptions{}).Waiting
				waited[left] = struct{}{}
				r.wait(90 * time.Minute)
				name := fmt.Sprintf("seed %d, untagged %v", seed, untagged)
				for _, how := range []store.CollectOptions{{DryRun: true}, {}} {
					done := collect(t, r, how)
					if done.Waiting != (store.Amount{}) {
						t.Errorf("%s, %+v: %+v waits after the grace", name, how, done.Waiting)
					}
					if freed := (store.Amount{Objects: done.Blobs, Bytes: done.Bytes}); freed != left {
						t.Errorf("%s, %+v: %+v was freed, and %+v was waiting", name, how, freed, left)
					}
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	if len(waited) < 50 {
		t.Errorf("only %d different amounts were waiting", len(waited))
	}
}

// changeSome pushes or deletes something, and lets some minutes pass.
func changeSome(t *testing.T, r *registry, rng *rand.Rand) {
	r.wait(time.Duration(rng.IntN(30)) * time.Minute)
	repo := fmt.Sprint("repo", rng.IntN(3))
	some := func() string { return fmt.Sprint("layer ", rng.IntN(6)) }
	held := manifestsOf(t, r, repo)
	one := func() digest.Digest {
		if len(held) == 0 {
			return ""
		}
		return held[rng.IntN(len(held))]
	}
	var tags []string
	if rng.IntN(2) == 0 {
		tags = []string{fmt.Sprint("v", rng.IntN(3))}
	}
	switch rng.IntN(8) {
	case 0, 1:
		r.image(t, repo, tags, "", some(), some())
	case 2:
		r.image(t, repo, nil, one(), some())
	case 3:
		if d := one(); d != "" {
			r.index(t, repo, tags, d)
		}
	case 4, 5:
		if d := one(); d != "" {
			must(t, r.DeleteManifest(t.Context(), repo, d))
		}
	case 6:
		r.blob(t, repo, some())
	case 7: // it restarts a grace
		r.Stat(pusher(t.Context()), repo, digest.FromString(some()))
	}
}

// manifestsOf returns the manifests of a repository, in order.
func manifestsOf(t *testing.T, r *registry, repo string) (all []digest.Digest) {
	for d, err := range r.Digests(t.Context(), repo) {
		must(t, err)
		all = append(all, d)
	}
	return all
}
