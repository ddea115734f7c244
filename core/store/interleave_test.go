package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

// world is a store over memory with a clock of its own. Its methods return errors,
// because actors run on goroutines of their own.
type world struct {
	*store.Store
	memory *memory
	clock  *atomic.Int64 // seconds ahead of the epoch below
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// collecting has settings under which everything unneeded is removed as soon as its
// hour of grace is over.
func (w *world) collecting() store.Config {
	return store.Config{Names: &coretest.MemoryNames{}, Now: w.now, Settings: store.Settings{Grace: time.Hour, Untagged: time.Minute, UploadAge: time.Hour, CacheSize: 1 << 16}}
}

func newWorld() (*world, error) {
	w := &world{clock: &atomic.Int64{}}
	w.memory = newMemory(w.now)
	return w, w.open()
}

func (w *world) now() time.Time { return epoch.Add(time.Duration(w.clock.Load()) * time.Second) }

func (w *world) open() (err error) {
	w.Store, err = store.Open(context.Background(), w.memory, w.collecting())
	return err
}

// age passes the grace of everything that is there.
func (w *world) age() { w.clock.Add(2 * 3600) }

func (w *world) upload(ctx context.Context, repo, data string) (core.Descriptor, error) {
	up, err := w.NewUpload(ctx, repo, digest.SHA256)
	if err != nil {
		return core.Descriptor{}, err
	}
	defer up.Close()
	if _, err := up.Append(ctx, 0, strings.NewReader(data)); err != nil {
		return core.Descriptor{}, err
	}
	return up.Commit(ctx, digest.FromString(data))
}

// blobOf describes the blob that has data.
func blobOf(data string) core.Descriptor {
	return core.Descriptor{MediaType: "application/vnd.example", Digest: digest.FromString(data), Size: int64(len(data))}
}

// imageOf is an image whose config and layer are the given strings.
func imageOf(config, layer string) []byte {
	return marshalled(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: blobOf(config), Layers: []core.Descriptor{blobOf(layer)},
	})
}

func (w *world) put(ctx context.Context, repo string, data []byte, createOnly bool, tags ...string) error {
	mediaType := ocispec.MediaTypeImageManifest
	if strings.Contains(string(data), ocispec.MediaTypeImageIndex) {
		mediaType = ocispec.MediaTypeImageIndex
	}
	_, err := w.PutManifest(ctx, repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: tags, CreateOnly: createOnly})
	return err
}

// push uploads what imageOf names and puts it.
func (w *world) push(ctx context.Context, repo, config, layer string, tags ...string) error {
	for _, data := range []string{config, layer} {
		if _, err := w.upload(ctx, repo, data); err != nil {
			return err
		}
	}
	return w.put(ctx, repo, imageOf(config, layer), false, tags...)
}

func (w *world) collect(ctx context.Context) error {
	_, err := w.Collect(ctx, store.CollectOptions{})
	return err
}

// whole checks that every image that the store shows is whole, and that every tag
// names one.
func whole(ctx context.Context, s core.Registry) error {
	for repo, err := range s.Repositories(ctx, "") {
		if err != nil {
			return err
		}
		for tag, err := range s.Tags(ctx, repo, "") {
			if errors.Is(err, core.ErrNameUnknown) {
				break
			} else if err != nil {
				return err
			}
			if err := holds(ctx, s, repo, core.Reference{Tag: tag}); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds checks that ref names a manifest whose bytes and blobs have their digests.
// The children of an index may be missing.
func holds(ctx context.Context, s core.Registry, repo string, ref core.Reference) error {
	m, err := s.Manifest(ctx, repo, ref)
	if err != nil {
		return fmt.Errorf("%s:%s is broken: %w", repo, ref, err)
	}
	if got := m.Descriptor.Digest.Algorithm().FromBytes(m.Bytes); got != m.Descriptor.Digest || ref.Digest != "" && got != ref.Digest {
		return fmt.Errorf("%s:%s has digest %s, its descriptor says %s", repo, ref, got, m.Descriptor.Digest)
	}
	doc, err := core.Inspect(m.Bytes)
	if err != nil {
		return err
	}
	for _, desc := range doc.Required() {
		if err := readable(ctx, s, repo, desc.Digest); err != nil {
			return fmt.Errorf("%s:%s is broken: %w", repo, ref, err)
		}
	}
	return nil
}

func readable(ctx context.Context, s core.Registry, repo string, d digest.Digest) error {
	blob, err := s.Blob(ctx, repo, d)
	if err != nil {
		return err
	}
	defer blob.Close()
	if got, err := d.Algorithm().FromReader(blob); err != nil || got != d {
		return fmt.Errorf("blob %s of %s: digest of its content is %s: %w", d, repo, got, err)
	}
	return nil
}

// A scenario prepares a world and returns who then acts at once, and what must hold
// afterwards: in this process, and in the next one after a kill or a power cut.
type scenario struct {
	name  string
	begin func(ctx context.Context, w *world) (actors []actor, after func(s core.Registry) error, err error)
}

const repo = "team/app"

func TestInterleavings(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			explore(t, 2, 20, func(choose func([]*step) int) ([]*step, error) {
				return sc.once(t.Context(), choose)
			})
		})
	}
}

// once plays the scenario under one schedule.
func (sc scenario) once(ctx context.Context, choose func([]*step) int) (trace []*step, err error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	actors, after, err := sc.begin(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	s := &schedule{choose: choose}
	w.memory.intercept(s.before)
	if trace, err = s.run(ctx, actors); err != nil {
		return trace, err
	}
	if err := errors.Join(whole(ctx, w), after(w)); err != nil {
		return trace, err
	}
	// One of the ways to end, by turns: schedules of equal length are many.
	rng := rand.New(rand.NewPCG(uint64(w.memory.serial), uint64(len(trace))))
	next, what := w.memory.killed(), "a kill"
	switch rng.IntN(3) {
	case 0:
		next, what = w.memory.powerCut(func(string) bool { return false }), "a power cut"
	case 1:
		next, what = w.memory.powerCut(func(string) bool { return rng.IntN(2) == 0 }), "a power cut that kept some writes"
	}
	if err := reopened(next, w, func(s core.Registry) error { return errors.Join(whole(ctx, s), after(s)) }); err != nil {
		return trace, fmt.Errorf("after %s: %w", what, err)
	}
	return trace, nil
}

// reopened runs check on a store that finds m.
func reopened(m *memory, w *world, check func(core.Registry) error) error {
	next := &world{memory: m, clock: w.clock}
	if err := next.open(); err != nil {
		return err
	}
	return errors.Join(check(next), next.Close())
}

func marshalled(doc any) []byte {
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err) // the documents are this file's own
	}
	return data
}
