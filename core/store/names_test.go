package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

// closedNames count how often they are closed.
type closedNames struct {
	coretest.MemoryNames
	closed int
	err    error
}

func (n *closedNames) Close() error {
	n.closed++
	return n.err
}

func TestAStoreClosesItsNames(t *testing.T) {
	t.Run("when it is closed", func(t *testing.T) {
		names := &closedNames{err: errors.New("disk")}
		s, err := store.Open(t.Context(), newMemory(time.Now), store.Config{Names: names})
		must(t, err)
		if names.closed != 0 {
			t.Error("closed while the store is open")
		}
		if err := s.Close(); !errors.Is(err, names.err) || names.closed != 1 {
			t.Errorf("got error %v and %d calls of Close, want theirs and one", err, names.closed)
		}
	})
	t.Run("when it cannot be opened", func(t *testing.T) {
		names := &closedNames{}
		// A mirror's store needs abilities that this bucket lacks.
		s, err := store.Open(t.Context(), bare{newMemory(time.Now)}, store.Config{Names: names, Sparse: true})
		if s != nil || err == nil || names.closed != 1 {
			t.Errorf("got store %v, error %v and %d calls of Close, want an error and one", s, err, names.closed)
		}
	})
}

func TestAStoreNeedsNames(t *testing.T) {
	if s, err := store.Open(t.Context(), newMemory(time.Now), store.Config{}); s != nil || err == nil {
		t.Errorf("got store %v and error %v, want an error", s, err)
	}
}

// Names that fail lose nothing: the bucket is scanned.
func TestNamesThatFailAreNotUsed(t *testing.T) {
	names := &failingNames{}
	r := &registry{Store: openStore(t, newMemory(time.Now), store.Config{Names: names})}
	untilIndexed(r)
	names.err = errors.New("no space left")
	r.image(t, "a", []string{"v1"}, "", "layer")
	if store.Indexed(r.Store) {
		t.Error("names are used after a write that failed")
	}
	if got := all(t, r.Tags(t.Context(), "a", "")); got != "v1" {
		t.Errorf("tags: got %q, want v1", got)
	}
	names.err = nil
	_, err := r.Collect(t.Context(), store.CollectOptions{})
	must(t, err)
	if !store.Indexed(r.Store) {
		t.Error("names are not used after a collection")
	}
	if got := all(t, r.Tags(t.Context(), "a", "")); got != "v1" {
		t.Errorf("tags after a collection: got %q, want v1", got)
	}
}

type failingNames struct {
	coretest.MemoryNames
	err error
}

func (n *failingNames) PutTag(repo, tag string, d digest.Digest) error {
	if n.err != nil {
		return n.err
	}
	return n.MemoryNames.PutTag(repo, tag, d)
}
