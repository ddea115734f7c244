package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// A change is the effect of a step once it is acknowledged: the digest that a tag
// (repo:tag) names. An empty digest means that there is no such tag.
type change map[string]digest.Digest

// steps touch every kind of write. A crash is put between any two of their bucket
// operations.
var steps = []struct {
	name string
	run  func(ctx context.Context, w *world) error
	then change
}{
	{"a push", func(ctx context.Context, w *world) error { return w.push(ctx, repo, "config", "one", "v1") },
		change{"team/app:v1": imageDigest("one")}},
	{"a push with two tags", func(ctx context.Context, w *world) error { return w.push(ctx, repo, "config", "two", "v2", "latest") },
		change{"team/app:v2": imageDigest("two"), "team/app:latest": imageDigest("two")}},
	{"a tag that moves", func(ctx context.Context, w *world) error { return w.push(ctx, repo, "config", "one", "latest") },
		change{"team/app:latest": imageDigest("one")}},
	{"a first push that mounts", func(ctx context.Context, w *world) error {
		for _, data := range []string{"config", "two"} {
			if _, err := w.Mount(ctx, "team/copy", repo, digest.FromString(data)); err != nil {
				return err
			}
		}
		return w.put(ctx, "team/copy", imageOf("config", "two"), true, "v1")
	}, change{"team/copy:v1": imageDigest("two")}},
	{"a tag deleted", func(ctx context.Context, w *world) error { return w.DeleteTag(ctx, repo, "v2") },
		change{"team/app:v2": ""}},
	{"a manifest deleted", func(ctx context.Context, w *world) error { return w.DeleteManifest(ctx, repo, imageDigest("one")) },
		change{"team/app:v1": "", "team/app:latest": ""}},
	{"a collection", func(ctx context.Context, w *world) error { w.age(); return w.collect(ctx) }, nil},
	{"the deleted image again", func(ctx context.Context, w *world) error { return w.push(ctx, repo, "config", "one", "v3") },
		change{"team/app:v3": imageDigest("one")}},
	{"a delete and a collection", func(ctx context.Context, w *world) error {
		err := w.DeleteManifest(ctx, "team/copy", imageDigest("two"))
		w.age()
		return errors.Join(err, w.collect(ctx))
	}, change{"team/copy:v1": ""}},
}

func imageDigest(layer string) digest.Digest { return digest.FromBytes(imageOf("config", layer)) }

var errCrash = errors.New("the process is dead")

// TestWhatIsAcknowledgedSurvivesACrashAnywhere makes every bucket operation fail
// from the k-th on, for every k, and checks what the next process finds: after a
// kill, and after power cuts that lose all or some of the writes that no Sync
// covered.
func TestWhatIsAcknowledgedSurvivesACrashAnywhere(t *testing.T) {
	const most = 2000 // operations; the steps need some hundred
	rng := rand.New(rand.NewPCG(4, 5))
	for k := range int64(most) {
		w, err := newWorld()
		if err != nil {
			t.Fatal(err)
		}
		var count atomic.Int64
		w.memory.intercept(func(context.Context, string) error {
			if count.Add(1) > k {
				return errCrash
			}
			return nil
		})
		want, uncertain, crashed := playSteps(t.Context(), w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		ends := map[string]*memory{
			"a kill":      w.memory.killed(),
			"a power cut": w.memory.powerCut(func(string) bool { return false }),
		}
		for i := range 3 {
			ends[fmt.Sprint("partial power cut ", i)] = w.memory.powerCut(func(string) bool { return rng.IntN(2) == 0 })
		}
		for end, m := range ends {
			err := reopened(m, w, func(s core.Registry) error {
				return errors.Join(whole(t.Context(), s), wantTags(t.Context(), s, want, uncertain))
			})
			if err != nil {
				t.Fatalf("%s at operation %d, in %q: %v", end, k, crashed, err)
			}
		}
		if crashed == "" {
			t.Logf("%d operations, a crash before each", k)
			return
		}
	}
	t.Fatalf("more than %d operations", most)
}

// playSteps runs the steps until one fails. Acknowledged changes are wanted; those
// of the failed step may have happened or not.
func playSteps(ctx context.Context, w *world) (want, uncertain change, crashed string) {
	want = change{}
	for _, step := range steps {
		if err := step.run(ctx, w); err != nil {
			return want, step.then, step.name
		}
		maps.Copy(want, step.then)
	}
	return want, nil, ""
}

func wantTags(ctx context.Context, s core.Registry, want, uncertain change) error {
	for name, d := range want {
		if _, ok := uncertain[name]; ok {
			continue
		}
		repo, tag, _ := strings.Cut(name, ":")
		desc, err := s.Resolve(ctx, repo, core.Reference{Tag: tag})
		switch {
		case d == "" && err == nil:
			return fmt.Errorf("%s is back after its delete was acknowledged", name)
		case d != "" && err != nil:
			return fmt.Errorf("%s was acknowledged: %w", name, err)
		case desc.Digest != d:
			return fmt.Errorf("%s names %s, acknowledged was %s", name, desc.Digest, d)
		}
		if d == "" {
			continue
		}
		if err := holds(ctx, s, repo, core.Reference{Digest: d}); err != nil {
			return err
		}
	}
	return nil
}

// TestEverySyncIsNeeded removes the barriers: then the same checks must fail, or
// they would prove nothing.
func TestEverySyncIsNeeded(t *testing.T) {
	under := func(prefix string) func(string) bool {
		return func(key string) bool { return strings.HasPrefix(key, prefix) }
	}
	for part, ours := range map[string]func(key string) bool{
		"content":   func(key string) bool { return under("blobs/")(key) && !strings.Contains(key, "+") },
		"links":     func(key string) bool { return under("blobs/")(key) && strings.Contains(key, "+") },
		"manifests": under("manifests/"),
		"tags":      under("repos/"),
	} {
		t.Run("of "+part, func(t *testing.T) {
			w, err := newWorld()
			if err != nil {
				t.Fatal(err)
			}
			forgetful := &unsynced{memory: w.memory, ours: ours}
			w.Close()
			if w.Store, err = store.Open(t.Context(), forgetful, w.collecting()); err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			want, _, _ := playSteps(t.Context(), w)
			err = reopened(w.memory.powerCut(func(string) bool { return false }), w, func(s core.Registry) error {
				return errors.Join(whole(t.Context(), s), wantTags(t.Context(), s, want, nil))
			})
			if err == nil {
				t.Errorf("a power cut without syncs of %s was not noticed", part)
			}
		})
	}
}

// unsynced is a memory whose Sync leaves out some keys.
type unsynced struct {
	*memory
	ours func(key string) bool
}

func (u *unsynced) Sync(ctx context.Context, keys ...string) error {
	var rest []string
	for _, key := range keys {
		if !u.ours(key) {
			rest = append(rest, key)
		}
	}
	return u.memory.Sync(ctx, rest...)
}
