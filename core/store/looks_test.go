package store_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// The catalog reads no object of the bucket, and a look at content restarts no grace.
func TestLooksCostNothing(t *testing.T) {
	w, err := newWorld()
	must(t, err, w.Close())
	x, err := index.ForStore("", slog.New(slog.DiscardHandler))
	must(t, err)
	config := w.collecting()
	config.Names, config.Projection = x, x
	w.Store, err = store.Open(t.Context(), w.memory, config)
	must(t, err)
	defer w.Close()
	must(t, w.push(t.Context(), "team/app", "config", "layer", "v1", "latest"))
	described(t, x)
	w.age()
	must(t, w.collect(t.Context())) // nothing is remembered of the push
	if n := store.Touched(w.Store); n != 0 {
		t.Fatalf("%d graces are remembered after a collection", n)
	}

	var calls atomic.Int64
	w.memory.intercept(func(context.Context, string) error {
		calls.Add(1)
		return nil
	})
	text := catalogText(t, w, "team/app")
	if calls := calls.Load(); calls != 0 || len(text) < 1000 {
		t.Errorf("a catalog of %d bytes took %d calls of the bucket", len(text), calls)
	}

	ctx := core.WithLook(pusher(t.Context()))
	image := core.Reference{Digest: imageDigest("layer")}
	_, err = w.Resolve(ctx, "team/app", image)
	must(t, err)
	_, err = w.Manifest(ctx, "team/app", image)
	must(t, err)
	_, err = w.Stat(ctx, "team/app", digest.FromString("layer"))
	must(t, err)
	if n := store.Touched(w.Store); n != 0 {
		t.Errorf("looks have restarted %d graces", n)
	}
	_, err = w.Stat(pusher(context.Background()), "team/app", digest.FromString("layer"))
	if must(t, err); store.Touched(w.Store) != 1 {
		t.Errorf("a client's question has restarted %d graces, want 1", store.Touched(w.Store))
	}
}
