package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// between is a tree of which a test changes something between two steps of a run.
type between struct {
	verify.Store
	opened     func(n int, d digest.Digest, o bucket.Object) (bucket.Object, error) // n: how often d was opened
	quarantine func(d digest.Digest)                                                // ahead of the move
	times      map[digest.Digest]int
}

func (b *between) Open(ctx context.Context, d digest.Digest) (bucket.Object, error) {
	o, err := b.Store.Open(ctx, d)
	if err != nil || b.opened == nil {
		return o, err
	}
	if b.times == nil {
		b.times = map[digest.Digest]int{}
	}
	b.times[d]++
	return b.opened(b.times[d], d, o)
}

func (b *between) Quarantine(ctx context.Context, d digest.Digest, version string) (bool, error) {
	if b.quarantine != nil {
		b.quarantine(d)
	}
	return b.Store.Quarantine(ctx, d, version)
}

// newBetween is a registry with an image whose layer is damaged, and what stands between. The
// stores of wraps go around the tree's own, before the verifier starts to read it.
func newBetween(t *testing.T, wraps ...func(verify.Store) verify.Store) (*registry, *between, *image) {
	b := &between{}
	r := &registry{t: t, path: t.TempDir(), wrap: func(tree string, s verify.Store) verify.Store {
		if tree != private {
			return s
		}
		for _, wrap := range wraps {
			s = wrap(s)
		}
		b.Store = s
		return b
	}}
	r.open()
	t.Cleanup(r.close)
	i := newImage("team/app", "v1", "a", digest.SHA256)
	must(t, i.push(r.trees[private]))
	damages["flip"](t, r.file(private, contentKey(i.layer)))
	return r, b, i
}

// heal pushes the layer again: what is held is read first and replaced.
func heal(t *testing.T, r *registry, i *image) {
	t.Helper()
	if err := pushBlob(r.trees[private], i.repo, i.layer, i.layerText); err != nil {
		t.Error(err)
	}
}

// remove has the collector remove the layer with everything that names it.
func remove(t *testing.T, r *registry, i *image) {
	t.Helper()
	s := r.trees[private]
	for _, err := range []error{s.DeleteManifest(t.Context(), i.repo, i.index), s.DeleteManifest(t.Context(), i.repo, i.manifest)} {
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Collect(t.Context(), store.CollectOptions{Idle: true}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.file(private, contentKey(i.layer))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the collector has kept the layer: %v", err)
	}
}

func TestWhatIsHealedOrRemovedMeanwhileIsNoDamage(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *registry, *image){"healed": heal, "removed": remove} {
		for _, when := range []string{"after the first reading", "after the second reading", "ahead of the move"} {
			for _, repair := range []bool{false, true} {
				if when == "ahead of the move" && !repair {
					continue
				}
				t.Run(fmt.Sprintf("%s %s, repair %v", name, when, repair), func(t *testing.T) {
					r, b, i := newBetween(t)
					changed := false
					now := func() {
						if !changed {
							changed = true
							change(t, r, i)
						}
					}
					b.opened = func(n int, d digest.Digest, o bucket.Object) (bucket.Object, error) {
						if d == i.layer && (when == "after the first reading" && n == 1 || when == "after the second reading" && n == 2) {
							return &ending{o, now}, nil
						}
						return o, nil
					}
					if when == "ahead of the move" {
						b.quarantine = func(digest.Digest) { now() }
					}
					report := r.run(verify.Options{Repair: repair})
					if !changed || report.Found != (verify.Found{}) || report.Moved != 0 {
						t.Errorf("changed %v, got %s, want no damage", changed, marshal(report))
					}
					if in, err := verify.InQuarantine(t.Context(), r.trees[private]); err != nil || in.Objects != 0 {
						t.Errorf("quarantine: %+v, %v, want nothing", in, err)
					}
					if name == "healed" {
						must(t, i.whole(r.trees[private]))
					}
				})
			}
		}
	}
}

// ending is an object that reports when it is closed.
type ending struct {
	bucket.Object
	closed func()
}

func (e *ending) Close() error {
	err := e.Object.Close()
	e.closed()
	return err
}

// failing is an object whose reading fails at the end.
type failing struct{ bucket.Object }

var errIO = errors.New("input/output error")

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Object.Read(p)
	if err == io.EOF {
		err = errIO
	}
	return n, err
}

func TestWhatCannotBeReadIsTroubleAndStays(t *testing.T) {
	for name, fail := range map[string]func(n int, o bucket.Object) (bucket.Object, error){
		"when it is opened": func(int, bucket.Object) (bucket.Object, error) { return nil, errIO },
		"when it is read":   func(_ int, o bucket.Object) (bucket.Object, error) { return &failing{o}, nil },
		"when it is read again": func(n int, o bucket.Object) (bucket.Object, error) {
			if n > 1 {
				return &failing{o}, nil
			}
			return o, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, b, i := newBetween(t)
			b.opened = func(n int, d digest.Digest, o bucket.Object) (bucket.Object, error) {
				if d != i.layer {
					return o, nil
				}
				if failed, err := fail(n, o); err == nil {
					return failed, nil
				} else {
					o.Close()
					return nil, err
				}
			}
			report := r.run(verify.Options{Repair: true})
			if report.Found != (verify.Found{Trouble: 1}) || !strings.Contains(report.Trouble[0].What, string(i.layer)) || !strings.Contains(report.Trouble[0].Error, errIO.Error()) {
				t.Errorf("got %s, want trouble", marshal(report))
			}
			if _, err := os.Stat(r.file(private, contentKey(i.layer))); err != nil {
				t.Error(err)
			}
		})
	}
}

// once is an object that is wrong when it is read first.
type once struct{ bucket.Object }

func (o *once) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	if n > 0 {
		p[0] ^= 1
	}
	return n, err
}

func TestOneWrongReadingCondemnsNothing(t *testing.T) {
	r, b, i := newBetween(t)
	heal(t, r, i)
	b.opened = func(n int, d digest.Digest, o bucket.Object) (bucket.Object, error) {
		if d == i.layer && n == 1 {
			return &once{o}, nil
		}
		return o, nil
	}
	report := r.run(verify.Options{Repair: true})
	if report.Found != (verify.Found{Trouble: 1}) || report.Moved != 0 || !strings.Contains(report.Trouble[0].Error, "unreliable") {
		t.Errorf("got %s, want trouble", marshal(report))
	}
	must(t, i.whole(r.trees[private]))
}

// Two wrong readings are of one version: what replaced the first has been read once.
func TestOneWrongReadingOfEitherVersionCondemnsNothing(t *testing.T) {
	r, b, i := newBetween(t)
	b.opened = func(n int, d digest.Digest, o bucket.Object) (bucket.Object, error) {
		switch {
		case d == i.layer && n == 1:
			return &ending{o, func() { heal(t, r, i) }}, nil
		case d == i.layer && n == 2:
			return &once{o}, nil
		}
		return o, nil
	}
	if report := r.run(verify.Options{Repair: true}); report.Found.Damaged > 0 || report.Moved != 0 {
		t.Errorf("got %s, want no damage", marshal(report))
	}
	must(t, i.whole(r.trees[private]))
}

// A bucket without the ability keeps what is damaged, and says why.
func TestABucketThatCannotMove(t *testing.T) {
	r, _, i := newBetween(t, func(s verify.Store) verify.Store { return unmoving{s} })
	report := r.run(verify.Options{Repair: true})
	if report.Found != (verify.Found{Damaged: 1, Trouble: 1}) || report.Damaged[0].Digest != i.layer || report.Damaged[0].Quarantined {
		t.Errorf("got %s, want damage that stays, and trouble", marshal(report))
	}
}

// A move is reported, even if a power cut may undo it.
func TestAMoveThatIsNotKnownToBeDurable(t *testing.T) {
	r, _, i := newBetween(t, func(s verify.Store) verify.Store { return unsynced{s} })
	report := r.run(verify.Options{Repair: true})
	if report.Found != (verify.Found{Damaged: 1, Trouble: 1}) || report.Moved != 1 || report.Damaged[0].Digest != i.layer || !report.Damaged[0].Quarantined {
		t.Errorf("got %s, want damage that was moved, and trouble", marshal(report))
	}
}

type unsynced struct{ verify.Store }

func (u unsynced) Quarantine(ctx context.Context, d digest.Digest, version string) (bool, error) {
	moved, _ := u.Store.Quarantine(ctx, d, version)
	return moved, errIO
}

type unmoving struct{ verify.Store }

func (unmoving) Quarantine(context.Context, digest.Digest, string) (bool, error) {
	return false, errors.ErrUnsupported
}

// Runs, pushes, deletes and collections happen at the same time. Content that was never damaged
// exists at every moment. Damaged content is intact after it was pushed again without further
// damage.
func TestUnderLoad(t *testing.T) {
	const images, rounds = 6, 40
	r := newRegistry(t)
	s := r.trees[private]
	var safe, sick []*image
	for n := range images {
		safe = append(safe, newImage("team/safe", fmt.Sprint("v", n), fmt.Sprint("safe", n), digest.SHA256))
		sick = append(sick, newImage("team/sick", fmt.Sprint("v", n), fmt.Sprint("sick", n), digest.SHA256))
	}
	for _, i := range slices.Concat(safe, sick) {
		must(t, i.push(s))
	}
	var moved atomic.Int64
	var group sync.WaitGroup
	done := make(chan struct{})
	loop := func(do func() error) {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		loop(func() error {
			report, err := r.Run(context.Background(), verify.Options{Repair: true})
			if err != nil {
				return err
			}
			moved.Add(int64(report.Moved))
			for _, f := range report.Damaged {
				if slices.ContainsFunc(f.Images, func(i *verify.Image) bool { return i.Repository != "team/sick" }) {
					return fmt.Errorf("an image that was never damaged is hit: %s", marshal(f))
				}
			}
			if report.Found.Trouble > 0 {
				return fmt.Errorf("trouble: %s", marshal(report.Trouble))
			}
			return nil
		})
	}
	loop(func() error {
		_, err := s.Collect(context.Background(), store.CollectOptions{Idle: true})
		return err
	})
	loop(func() error {
		i := safe[rand.N(images)]
		if err := i.push(s); err != nil {
			return fmt.Errorf("push of a safe image: %w", err)
		}
		return i.whole(s)
	})
	loop(func() error { // an image that comes and goes
		i := newImage("team/gone", "v1", fmt.Sprint(rand.N(3)), digest.SHA256)
		if err := i.push(s); err != nil {
			return fmt.Errorf("push of what goes: %w", err)
		}
		for _, d := range []digest.Digest{i.index, i.manifest} {
			if err := s.DeleteManifest(context.Background(), i.repo, d); err != nil {
				return err
			}
		}
		return nil
	})
	for range rounds {
		i := sick[rand.N(images)]
		d := []digest.Digest{i.layer, i.manifest, i.index, i.configDigest}[rand.N(4)]
		if data, err := os.ReadFile(r.file(private, contentKey(d))); err == nil && len(data) > 0 {
			data[len(data)/2] ^= 1
			// This is another file, because present readers of the old one must not see half of
			// it.
			must(t, os.WriteFile(r.path+"/damaged", data, 0o600), os.Rename(r.path+"/damaged", r.file(private, contentKey(d))))
		}
		if err := i.push(s); err != nil && !errors.Is(err, core.ErrManifestBlobUnknown) && !errors.Is(err, core.ErrUnavailable) {
			t.Error(err)
		}
	}
	close(done)
	group.Wait()
	for _, i := range sick {
		if r.run(verify.Options{Repair: true, Repository: i.repo}).Found.Trouble > 0 {
			t.Error("trouble")
		}
		must(t, i.push(s))
	}
	for _, i := range slices.Concat(safe, sick) {
		if err := i.whole(s); err != nil {
			t.Errorf("%s:%s: %v", i.repo, i.tag, err)
		}
	}
	if moved.Load() == 0 {
		t.Error("nothing was moved: this test looks at nothing")
	}
	t.Logf("%d objects were moved", moved.Load())
}
