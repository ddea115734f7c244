package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// full has every write of the bucket that begins with one of ops meet a full disk.
func full(w *world, ops ...string) {
	w.memory.intercept(func(_ context.Context, op string) error {
		for _, prefix := range ops {
			if strings.HasPrefix(op, prefix) {
				return bucket.ErrNoSpace
			}
		}
		return nil
	})
}

func (w *world) unfinished(t *testing.T) []string {
	t.Helper()
	var ids []string
	for info, err := range w.memory.Uploads(t.Context()) {
		must(t, err)
		ids = append(ids, info.ID)
	}
	return ids
}

// An upload that filled the disk takes the space that all others need.
func TestAnUploadThatMeetsAFullDiskIsDropped(t *testing.T) {
	for _, ops := range []string{"append ", "commit ", "put blobs/"} {
		t.Run(ops, func(t *testing.T) {
			w, err := newWorld()
			must(t, err)
			defer w.Close()
			u, err := w.NewUpload(t.Context(), repo, digest.SHA256)
			must(t, err)
			defer u.Close()
			_, err = u.Append(t.Context(), 0, strings.NewReader("some "))
			must(t, err)
			full(w, ops)
			_, err = u.Append(t.Context(), 5, strings.NewReader("content"))
			if err == nil {
				_, err = u.Commit(t.Context(), digest.FromString("some content"))
			}
			if !errors.Is(err, core.ErrNoSpace) {
				t.Errorf("got %v, want %v", err, core.ErrNoSpace)
			}
			if got := w.unfinished(t); len(got) > 0 {
				t.Errorf("uploads %q are left", got)
			}
			if _, err := w.Upload(t.Context(), repo, u.ID()); !errors.Is(err, core.ErrBlobUploadUnknown) {
				t.Errorf("the upload is found again: %v", err)
			}
			if err := u.Cancel(t.Context()); !errors.Is(err, core.ErrBlobUploadUnknown) {
				t.Errorf("cancel: %v, want %v", err, core.ErrBlobUploadUnknown)
			}
		})
	}
}

func TestIdleUploadsGoWhenSpaceIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name    string
		full    bool // a write met a full disk
		pressed int  // how often more space is needed
		dryRun  bool
		want    int // of three that have been idle for 30, 20 and 5 minutes
		counted int
	}{
		{name: "not without need", want: 3},
		{name: "after a write met a full disk", full: true, want: 1, counted: 2},
		{name: "while it is needed", pressed: 1, want: 2, counted: 1},
		{name: "not the young", pressed: 99, want: 1, counted: 2},
		{name: "not in a dry run", full: true, dryRun: true, want: 3, counted: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := newWorld()
			must(t, err)
			defer w.Close()
			var ids []string
			for _, age := range []time.Duration{10 * time.Minute, 15 * time.Minute, 5 * time.Minute} {
				u, err := w.NewUpload(t.Context(), repo, digest.SHA256)
				must(t, err, u.Close())
				ids = append(ids, w.unfinished(t)[len(ids)])
				w.clock.Add(int64(age / time.Second))
			}
			if c.full {
				full(w, "new upload")
				if _, err := w.NewUpload(t.Context(), repo, digest.SHA256); !errors.Is(err, core.ErrNoSpace) {
					t.Fatalf("a full disk took an upload: %v", err)
				}
				full(w)
			}
			how := store.CollectOptions{DryRun: c.dryRun}
			if c.pressed > 0 {
				how.Pressed = func() bool { c.pressed--; return c.pressed >= 0 }
			}
			done, err := w.Collect(t.Context(), how)
			must(t, err)
			if got := w.unfinished(t); !slices.Equal(got, ids[len(ids)-c.want:]) || done.Uploads != c.counted {
				t.Errorf("uploads %q are left of %q and %d counted, want the last %d and %d", got, ids, done.Uploads, c.want, c.counted)
			}
			done, err = w.Collect(t.Context(), store.CollectOptions{})
			again := 0 // space is not needed any more
			if c.dryRun {
				again = c.counted
			}
			if err != nil || done.Uploads != again {
				t.Errorf("a second collection: %+v, %v, want %d uploads", done, err, again)
			}
		})
	}
}
