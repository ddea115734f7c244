package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// weighing determines which blobs are removed together with some manifests of a repository: those that
// they name and that no other manifest of the repository names. It holds no manifests, only the
// digests of the repository's content.
type weighing struct {
	order []digest.Digest        // the manifests to remove, as the caller ordered them
	going map[digest.Digest]bool // true: held, and read
	// named has the blobs that these name; true: a manifest that stays names it, too.
	named map[digest.Digest]bool
	read  map[digest.Digest]struct{} // the manifests that stay and were read
}

func newWeighing(going []digest.Digest) *weighing {
	w := &weighing{going: map[digest.Digest]bool{}, named: map[digest.Digest]bool{}, read: map[digest.Digest]struct{}{}}
	for _, d := range going {
		if _, twice := w.going[d]; !twice {
			w.order = append(w.order, d)
			w.going[d] = false
		}
	}
	return w
}

// outcome returns the held manifests to remove, each once and in the caller's order, and the blobs to
// remove with them, in no order.
func (w *weighing) outcome() (going, blobs []digest.Digest) {
	for _, d := range w.order {
		if w.going[d] {
			going = append(going, d)
		}
	}
	for d, stays := range w.named {
		if _, also := w.going[d]; !stays && !also {
			blobs = append(blobs, d)
		}
	}
	return going, blobs
}

// stays reports whether a manifest that stays names d.
func (w *weighing) stays(d digest.Digest) bool { return w.named[d] }

// weigh reads the manifests of repo that w has not read yet: first those to remove, then the others. A
// damaged manifest names nothing: the content that it needs can be fetched again. A manifest that
// stayed and was deleted since keeps what it named until the next eviction.
func (s *Store) weigh(ctx context.Context, repo string, w *weighing) error {
	before := len(w.named)
	for _, d := range w.order {
		if w.going[d] {
			continue
		}
		m, _, err := s.readManifest(ctx, repo, d)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		w.going[d] = true
		if err := s.weighBlob(ctx, repo, d, w); err != nil { // it may also be a blob
			return err
		}
		for named := range graph.Named(m.Bytes) {
			if err := s.weighBlob(ctx, repo, named, w); err != nil {
				return err
			}
		}
	}
	if len(w.named) > before {
		clear(w.read) // they were not compared with these
	}
	for d, err := range s.held(ctx, repo) {
		if err != nil {
			return err
		}
		if _, read := w.read[d]; read || w.going[d] {
			continue
		}
		m, _, err := s.readManifest(ctx, repo, d)
		if err != nil && !errors.Is(err, bucket.ErrNotExist) && !errors.Is(err, ErrDamaged) {
			return err
		}
		w.read[d] = struct{}{}
		for named := range graph.Named(m.Bytes) {
			if _, ok := w.named[named]; ok {
				w.named[named] = true
			}
		}
	}
	return nil
}

// weighBlob adds d to w if it is a blob of repo.
func (s *Store) weighBlob(ctx context.Context, repo string, d digest.Digest, w *weighing) error {
	if _, ok := w.named[d]; ok {
		return nil
	}
	_, err := s.bucket.Stat(ctx, linkKey(d, repo))
	if errors.Is(err, bucket.ErrNotExist) {
		return nil
	}
	if err == nil {
		w.named[d] = false
	}
	return err
}
