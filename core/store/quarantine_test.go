package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

func versionOf(t *testing.T, s *store.Store, d digest.Digest) string {
	t.Helper()
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	return o.Info().Version
}

func TestQuarantineMovesOneVersion(t *testing.T) {
	d := newDamaged(t)
	for _, of := range []digest.Digest{d.digest(), digest.FromString(d.layer)} {
		if moved, err := d.Quarantine(t.Context(), of, "another"); moved || err != nil {
			t.Errorf("another version of %s: %v, %v, want it to stay", of, moved, err)
		}
		if moved, err := d.Quarantine(t.Context(), digest.FromString("nothing"), "any"); moved || err != nil {
			t.Errorf("of nothing: %v, %v", moved, err)
		}
	}
	if got := d.manifestIn("a", core.Reference{Tag: "v1"}); got != right {
		t.Fatalf("before: %s", got)
	}
	moved, err := d.Quarantine(t.Context(), d.digest(), versionOf(t, d.Store, d.digest()))
	if !moved || err != nil {
		t.Fatalf("got %v, %v, want it moved", moved, err)
	}
	for _, ref := range []core.Reference{{Tag: "v1"}, {Digest: d.digest()}} {
		if got := d.manifestIn("a", ref); got != missing { // memory had it
			t.Errorf("%v: %s, want it missing", ref, got)
		}
	}
	var in []store.Quarantined
	for q, err := range d.Quarantined(t.Context()) {
		must(t, err)
		in = append(in, q)
	}
	if len(in) != 1 || in[0].Digest != d.digest() || in[0].Size != int64(len(d.image.Bytes)) || time.Since(in[0].Time).Abs() > time.Minute {
		t.Errorf("got %+v in the quarantine", in)
	}
	// Content that was repaired and damaged again replaces the first object in
	// the quarantine.
	d.push("a", false)
	if got := d.manifestIn("a", core.Reference{Tag: "v1"}); got != right {
		t.Errorf("after another push: %s", got)
	}
	if moved, err := d.Quarantine(t.Context(), d.digest(), versionOf(t, d.Store, d.digest())); !moved || err != nil {
		t.Errorf("again: %v, %v", moved, err)
	}
	if n, err := d.DropQuarantined(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("of an hour ago: dropped %d, %v", n, err)
	}
	if n, err := d.DropQuarantined(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("dropped %d, %v, want one", n, err)
	}
}

func TestQuarantineInABucketThatCannotMove(t *testing.T) {
	b := newMemory(time.Now)
	s := openStore(t, bare{b}, store.Config{})
	if _, ok := any(bare{b}).(bucket.Rename); ok {
		t.Fatal("this bucket can move")
	}
	if moved, err := s.Quarantine(t.Context(), digest.FromString("x"), "any"); moved || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, %v, want ErrUnsupported", moved, err)
	}
}
