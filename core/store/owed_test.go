package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

var errDisk = errors.New("the disk does not sync")

// A change whose sync failed is not acknowledged, but visible. Content that is
// removed after it must not be missing when a power cut undoes the change.
func TestNothingIsRemovedThatAnUndoneChangeNeeds(t *testing.T) {
	one, two := imageDigest("one"), imageDigest("two")
	fails := func(err error) error {
		if !errors.Is(err, errDisk) {
			return errors.Join(errors.New("the change did not fail with its sync"), err)
		}
		return nil
	}
	for name, run := range map[string]func(ctx context.Context, w *world, broken func(string)) error{
		"a delete of a manifest, and a collection": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/")
			err := fails(w.DeleteManifest(ctx, repo, two))
			broken("")
			w.age()
			return errors.Join(err, w.collect(ctx))
		},
		"a delete of a manifest, and a collection on the broken disk": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/")
			err := fails(w.DeleteManifest(ctx, repo, two))
			w.age()
			return errors.Join(err, fails(w.collect(ctx)))
		},
		"a delete of a manifest, and of its layer": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/")
			err := fails(w.DeleteManifest(ctx, repo, two))
			broken("")
			return errors.Join(err, w.DeleteBlob(ctx, repo, digest.FromString("two")))
		},
		"a delete of a tag that was tried again, and of its manifest": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/_tags/")
			err := fails(w.DeleteTag(ctx, repo, "v1"))
			err = errors.Join(err, fails(w.DeleteTag(ctx, repo, "v1")))
			broken("")
			if again := w.DeleteTag(ctx, repo, "v1"); !errors.Is(again, core.ErrManifestUnknown) {
				err = errors.Join(err, errors.New("the tag is there again"), again)
			}
			return errors.Join(err, w.DeleteManifest(ctx, repo, one))
		},
		"a delete of a tag, and of its manifest": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/_tags/")
			err := fails(w.DeleteTag(ctx, repo, "v1"))
			broken("")
			return errors.Join(err, w.DeleteManifest(ctx, repo, one))
		},
		"a tag that was moved, and a delete of what it named": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/_tags/")
			err := fails(w.put(ctx, repo, imageOf("config", "two"), false, "v1"))
			broken("")
			return errors.Join(err, w.DeleteManifest(ctx, repo, one))
		},
		"an eviction, and another": func(ctx context.Context, w *world, broken func(string)) error {
			broken("/")
			_, err := w.Evict(ctx, repo, one)
			err = fails(err)
			broken("")
			_, again := w.Evict(ctx, repo, one)
			return errors.Join(err, again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := newWorld()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			ctx := t.Context()
			if err := errors.Join(w.push(ctx, repo, "config", "one", "v1"), w.push(ctx, repo, "config", "two")); err != nil {
				t.Fatal(err)
			}
			broken := func(part string) {
				w.memory.intercept(func(_ context.Context, op string) error {
					if part != "" && strings.HasPrefix(op, "sync ") && strings.Contains(op, part) {
						return errDisk
					}
					return nil
				})
			}
			if err := run(ctx, w, broken); err != nil {
				t.Fatal(err)
			}
			broken("")
			err = reopened(w.memory.powerCut(func(string) bool { return false }), w, func(s core.Registry) error {
				errs := []error{whole(ctx, s)}
				for _, d := range []digest.Digest{one, two} {
					if _, err := s.Resolve(ctx, repo, core.Reference{Digest: d}); err == nil {
						errs = append(errs, holds(ctx, s, repo, core.Reference{Digest: d}))
					}
				}
				return errors.Join(errs...)
			})
			if err != nil {
				t.Errorf("after a power cut: %v", err)
			}
		})
	}
}
