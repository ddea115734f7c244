package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

func TestEvictTakesWhatNothingElseNeeds(t *testing.T) {
	ctx := context.Background()
	r := open(t, t.TempDir(), store.Config{Sparse: true})
	const a, b = "docker.io/a", "docker.io/b"
	old := r.image(t, a, []string{"v1", "old"}, "", "base", "old", "elsewhere")
	kept := r.image(t, a, []string{"v2"}, "", "base", "new")
	r.image(t, b, []string{"v1"}, "", "elsewhere")

	got, err := r.Evict(ctx, a, old, digest.FromString("was never here"))
	must(t, err)
	slices.Sort(got.Tags)
	if !slices.Equal(got.Tags, []string{"old", "v1"}) || !slices.Equal(got.Manifests, []digest.Digest{old}) {
		t.Errorf("evicted %v and %v", got.Tags, got.Manifests)
	}
	if r.has(t, a, old) || !r.has(t, a, kept) {
		t.Error("the wrong manifest went")
	}
	for _, row := range []struct {
		repo, blob string
		want       bool
	}{
		{a, "{}", true}, {a, "base", true}, {a, "new", true},
		{a, "old", false}, {a, "elsewhere", false}, {b, "elsewhere", true},
	} {
		if got := r.reads(t, row.repo, row.blob); got != row.want {
			t.Errorf("%s of %s is readable: %t, want %t", row.blob, row.repo, got, row.want)
		}
	}
	// The space is free at once: the manifest and the blob "old".
	if got.Blobs != 2 {
		t.Errorf("%d of content went, want 2", got.Blobs)
	}
	for c, err := range r.Contents(ctx) {
		must(t, err)
		if len(c.Repos) == 0 {
			t.Errorf("%s of %d bytes belongs to no repository", c.Digest, c.Size)
		}
		if c.Digest == digest.FromString("{}") && !slices.Equal(c.Repos, []string{a, b}) {
			t.Errorf("the config is of %v", c.Repos)
		}
	}
}

// The caller's order is kept, so that the state after an interruption does not depend
// on chance.
func TestEvictKeepsTheOrderItWasGiven(t *testing.T) {
	ctx := context.Background()
	r := open(t, t.TempDir(), store.Config{Sparse: true})
	var ds []digest.Digest
	for i := range 12 {
		ds = append(ds, r.image(t, "docker.io/a", nil, "", "base", fmt.Sprint(i)))
	}
	got, err := r.Evict(ctx, "docker.io/a", slices.Concat(ds, ds)...)
	must(t, err)
	if !slices.Equal(got.Manifests, ds) {
		t.Errorf("the order was not kept: evicted %v, want %v", got.Manifests, ds)
	}
}

// TestEvictionIsCutOffAnywhere stops an eviction at every operation of the bucket.
// After that, as after a kill or a power cut, content is served or unknown, never
// broken.
func TestEvictionIsCutOffAnywhere(t *testing.T) {
	ctx := context.Background()
	cut := errors.New("cut")
	for n := 0; ; n++ {
		m := newMemory(time.Now)
		s, err := store.Open(ctx, m, store.Config{Names: &coretest.MemoryNames{}, Sparse: true})
		must(t, err)
		r := &registry{Store: s}
		old := r.image(t, "a", []string{"v1"}, "", "base", "old")
		kept := r.image(t, "a", []string{"v2"}, "", "base", "new")
		var left atomic.Int64 // the index may be built still, which looks at the bucket too
		left.Store(int64(n))
		m.intercept(func(context.Context, string) error {
			if left.Add(-1) < 0 {
				return cut
			}
			return nil
		})
		_, err = s.Evict(ctx, "a", old)
		m.intercept(func(context.Context, string) error { return nil })
		must(t, s.Close())
		for name, after := range map[string]*memory{
			"a kill":                    m.killed(),
			"a power cut":               m.powerCut(func(string) bool { return false }),
			"a power cut, links gone":   m.powerCut(func(key string) bool { return key[:5] == "links" }),
			"a power cut, blobs gone":   m.powerCut(func(key string) bool { return key[:5] == "blobs" }),
			"a power cut, records gone": m.powerCut(func(key string) bool { return key[:5] != "links" && key[:5] != "blobs" }),
		} {
			s, err := store.Open(ctx, after, store.Config{Names: &coretest.MemoryNames{}, Sparse: true})
			must(t, err)
			r := &registry{Store: s}
			if !r.has(t, "a", kept) || !r.reads(t, "a", "base") || !r.reads(t, "a", "new") {
				t.Errorf("after %s at operation %d something kept is gone", name, n)
			}
			if held := r.has(t, "a", old); held && !r.reads(t, "a", "old") {
				t.Errorf("after %s at operation %d the manifest is there and its blob is not", name, n)
			}
			got, err := s.Manifest(ctx, "a", core.Reference{Tag: "v1"})
			if err == nil && got.Descriptor.Digest != old || err != nil && !errors.Is(err, core.ErrManifestUnknown) {
				t.Errorf("after %s at operation %d the tag is %v, %v", name, n, got.Descriptor, err)
			}
			must(t, s.Close())
		}
		if err == nil {
			if n < 5 {
				t.Errorf("the eviction took %d operations", n)
			}
			return
		}
		if !errors.Is(err, cut) {
			t.Fatal(err)
		}
	}
}

// TestNothingKeptLosesABlob plays pulls, deletes, evictions and collections over a
// sparse store: a manifest that is kept has every blob that it ever had.
func TestNothingKeptLosesABlob(t *testing.T) {
	repos, blobs := []string{"docker.io/a", "docker.io/b", "ghcr.io/c"}, []string{"one", "two", "three", "four"}
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		var ahead atomic.Int64
		clock := func() time.Time { return time.Unix(1_700_000_000, ahead.Load()) }
		s, err := store.Open(ctx, newMemory(clock), store.Config{Names: &coretest.MemoryNames{}, Sparse: true, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		images := map[string]map[digest.Digest][]string{}
		had := map[string]map[string]bool{}
		for _, repo := range repos {
			images[repo], had[repo] = map[digest.Digest][]string{}, map[string]bool{}
		}
		pick := func(t *rapid.T) string { return rapid.SampledFrom(repos).Draw(t, "repository") }
		some := func(t *rapid.T, repo string) (ds []digest.Digest) {
			for d := range images[repo] {
				ds = append(ds, d)
			}
			slices.Sort(ds)
			if len(ds) == 0 {
				t.Skip("nothing is held")
			}
			return ds[:rapid.IntRange(1, len(ds)).Draw(t, "manifests")]
		}
		reads := func(repo, blob string) bool {
			b, err := s.Blob(ctx, repo, digest.FromString(blob))
			if err != nil {
				return false
			}
			b.Close()
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				for repo, held := range images {
					needed := map[string]bool{}
					for d, names := range held {
						if _, err := s.Manifest(ctx, repo, core.Reference{Digest: d}); err != nil {
							t.Fatalf("%s of %s is not held: %v", d, repo, err)
						}
						for _, name := range names {
							needed[name] = true
						}
					}
					for name := range had[repo] {
						switch there := reads(repo, name); {
						case !there && needed[name]:
							t.Fatalf("%s has lost %s, which a kept manifest had", repo, name)
						case !there:
							delete(had[repo], name)
						}
					}
				}
			},
			"pull a manifest": func(t *rapid.T) {
				repo := pick(t)
				names := rapid.SliceOfNDistinct(rapid.SampledFrom(blobs), 1, 3, rapid.ID).Draw(t, "blobs")
				m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
				m.SchemaVersion = 2
				m.Config = core.Descriptor{MediaType: "x/y", Digest: digest.FromString(names[0]), Size: int64(len(names[0]))}
				for _, name := range names {
					m.Layers = append(m.Layers, core.Descriptor{MediaType: "a/b", Digest: digest.FromString(name), Size: int64(len(name))})
				}
				put := core.ManifestPut{MediaType: m.MediaType, Bytes: encoded(m), Tags: []string{rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "tag")}}
				got, err := s.PutManifest(ctx, repo, put)
				if err != nil {
					t.Fatal(err)
				}
				images[repo][got.Descriptor.Digest] = names
			},
			"pull a blob": func(t *rapid.T) {
				repo, name := pick(t), rapid.SampledFrom(blobs).Draw(t, "blob")
				d := digest.FromString(name)
				if _, err := s.Mount(ctx, repo, "", d); err != nil {
					u, err := s.NewUpload(ctx, repo, digest.SHA256)
					if err == nil {
						_, err = u.Append(ctx, 0, bytes.NewReader([]byte(name)))
					}
					if err == nil {
						_, err = u.Commit(ctx, d)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				had[repo][name] = true
			},
			"delete": func(t *rapid.T) {
				repo := pick(t)
				for _, d := range some(t, repo) {
					if err := s.DeleteManifest(ctx, repo, d); err != nil {
						t.Fatal(err)
					}
					delete(images[repo], d)
				}
			},
			"evict": func(t *rapid.T) {
				repo := pick(t)
				ds := some(t, repo)
				got, err := s.Evict(ctx, repo, ds...)
				if err != nil || len(got.Manifests) != len(ds) {
					t.Fatalf("evicted %v of %v: %v", got.Manifests, ds, err)
				}
				for _, d := range ds {
					delete(images[repo], d)
				}
			},
			"collect": func(t *rapid.T) {
				ahead.Add(int64(3 * time.Hour))
				if _, err := s.Collect(ctx, store.CollectOptions{}); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

func encoded(m ocispec.Manifest) []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // it holds strings and numbers only
	}
	return data
}
