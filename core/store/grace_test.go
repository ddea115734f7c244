package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// pusher is the context of a caller who may create.
func pusher(ctx context.Context) context.Context {
	return core.WithAccess(ctx, core.Access{Create: true})
}

// Answers about existing content are remembered, if the caller may push.
func TestOnlyWhatExistsIsRememberedAndForPushersAlone(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	image := r.image(t, "a", []string{"v1"}, "", "layer")
	layer := digest.FromString("layer")
	absent := func(i int) digest.Digest { return digest.FromString(fmt.Sprint("absent ", i)) }
	index := func(children ...digest.Digest) func(ctx context.Context) error {
		x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
		x.SchemaVersion = 2
		for _, d := range children {
			x.Manifests = append(x.Manifests, core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1})
		}
		return func(ctx context.Context) error {
			_, err := r.PutManifest(ctx, "a", core.ManifestPut{MediaType: x.MediaType, Bytes: marshal(t, x)})
			return err
		}
	}
	var many []digest.Digest
	for i := range 5000 {
		many = append(many, absent(i))
	}
	head := func(d digest.Digest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, _ = r.Resolve(ctx, "a", core.Reference{Digest: d}) // either may be unknown
			_, _ = r.Stat(ctx, "a", d)
			return nil
		}
	}
	reader := core.WithAccess(t.Context(), core.Access{Known: true, Fetch: true})
	for _, c := range []struct {
		name string
		ctx  context.Context
		do   func(context.Context) error
		want int // entries more
	}{
		{"an anonymous caller asks for missing content", t.Context(), head(absent(1)), 0},
		{"an anonymous caller asks for a blob", t.Context(), head(layer), 0},
		{"a reader asks for a blob", reader, head(layer), 0},
		{"a reader asks for a manifest", reader, head(image), 0},
		{"a pusher asks for missing content", pusher(t.Context()), head(absent(1)), 0},
		{"a pusher asks in another repository", pusher(t.Context()), func(ctx context.Context) error {
			_, _ = r.Stat(ctx, "b", layer) // it is not there
			return nil
		}, 0},
		{"a pusher asks for a blob", pusher(t.Context()), head(layer), 1},
		{"a pusher asks for a manifest", pusher(t.Context()), head(image), 1},
		{"a mount of missing content", pusher(t.Context()), func(ctx context.Context) error {
			_, _ = r.Mount(ctx, "b", "a", absent(1)) // it is refused
			return nil
		}, 0},
		{"a mount", pusher(t.Context()), func(ctx context.Context) error { _, err := r.Mount(ctx, "b", "a", layer); return err }, 1},
		{"an index of absent children", pusher(t.Context()), index(many...), 1},
		{"an index of a child that exists", pusher(t.Context()), index(image, absent(1)), 2},
	} {
		// None of the earlier answers is remembered.
		r.wait(3 * time.Hour)
		collect(t, r, store.CollectOptions{DryRun: true})
		if got := store.Touched(r.Store); got != 0 {
			t.Fatalf("%d entries are left after the grace", got)
		}
		must(t, c.do(c.ctx))
		if got := store.Touched(r.Store); got != c.want {
			t.Errorf("%s: %d entries, want %d", c.name, got, c.want)
		}
	}
}

func TestTheGraceIsBounded(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	r.blob(t, "a", "layer")
	r.wait(2 * time.Hour)
	for i := range store.MaxTouched + 1 {
		store.Touch(r.Store, "b", digest.Digest(fmt.Sprint("sha256:", i)))
	}
	if got := store.Touched(r.Store); got > store.MaxTouched {
		t.Errorf("%d entries, want at most %d", got, store.MaxTouched)
	}
	// The forgotten answer may have been about this blob.
	if done := collect(t, r, store.CollectOptions{}); !nothing(done) {
		t.Errorf("collected %+v when the answers to clients are unknown", done)
	}
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Blobs != 1 {
		t.Errorf("collected %+v after the grace, want 1 blob", done)
	}
}
