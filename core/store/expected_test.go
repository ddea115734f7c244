package store_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// indexed is what an index is for a store.
type indexed interface {
	store.Names
	store.Projection
}

// describedWorld is a world with an index that describes it.
func describedWorld(t *testing.T) (*world, *index.Index) {
	t.Helper()
	return describedWorldBy(t, func(x *index.Index) indexed { return x })
}

// describedWorldBy is describedWorld for a store that sees what by makes of the index.
func describedWorldBy(t *testing.T, by func(*index.Index) indexed) (*world, *index.Index) {
	t.Helper()
	w, err := newWorld()
	must(t, err)
	x, err := index.ForStore("", slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, x.Close()) })
	config := w.collecting()
	seen := by(x)
	config.Names, config.Projection = seen, seen
	must(t, w.Close())
	w.Store, err = store.Open(t.Context(), w.memory, config)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	described(t, x)
	return w, x
}

// A manifest that others name meanwhile is not deleted, though the projection is written behind.
func TestADeletionIsRefusedWhenAnotherManifestNamesIt(t *testing.T) {
	w, _ := describedWorld(t)
	must(t, w.push(t.Context(), repo, "config", "layer"))
	d := imageDigest("layer")
	first := w.attach(t, d, "application/vnd.example", "first")
	remove := func(users ...digest.Digest) error {
		ctx := core.WithExpected(context.Background(), core.Expected{Users: append([]digest.Digest{}, users...)})
		return w.DeleteManifest(ctx, repo, d)
	}
	want(t, "a user that nobody knew of", remove(), core.ErrChanged)
	second := w.attach(t, d, "application/vnd.example", "second")
	want(t, "a user that came since", remove(first), core.ErrChanged)
	_, err := w.Resolve(t.Context(), repo, core.Reference{Digest: d})
	want(t, "the manifest is held", err, nil)
	want(t, "its users are known", remove(first, second), nil)
}

func TestTagsOfADigest(t *testing.T) {
	w, x := describedWorld(t)
	tags := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} // more than a row has
	must(t, w.push(t.Context(), repo, "config", "layer", tags...))
	must(t, w.push(t.Context(), repo, "config", "other", "m"))
	d := imageDigest("layer")
	if got := listed(t, x.DigestTags(t.Context(), repo, d, "")); !slices.Equal(got, tags) {
		t.Errorf("got %q", got)
	}
	if got := listed(t, x.DigestTags(t.Context(), repo, d, "j")); !slices.Equal(got, tags[10:]) {
		t.Errorf("behind j: got %q", got)
	}
	if got := listed(t, x.DigestTags(t.Context(), repo, digest.FromString("absent"), "")); got != nil {
		t.Errorf("of a digest that is not held: got %q", got)
	}
}
