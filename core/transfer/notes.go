package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/eblume/caddy-registry/core/bucket"
)

// notesPrefix is where imports record the imported tags and manifests, as an empty object for
// each. No component of a repository's name is "_".
const notesPrefix = "imports/"

func noteKey(repo, reference string) string { return notesPrefix + repo + "/_/" + reference }

// noted reports whether an import has imported the reference before.
func (r *repository) noted(ctx context.Context, reference string) (bool, error) {
	_, err := r.Notes.Stat(ctx, noteKey(r.name, reference))
	if errors.Is(err, bucket.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("note of %s: %w", reference, err)
	}
	return true, nil
}

// note records that something was imported. It follows the put, so that an image whose import was
// killed is imported again. A note that a power cut loses is written by the next import, unless
// the image was deleted in between.
func (r *repository) note(ctx context.Context, reference string) error {
	_, err := r.Notes.Put(ctx, noteKey(r.name, reference), nil, bucket.Condition{IfAbsent: true, Alike: true})
	if err != nil && !errors.Is(err, bucket.ErrExist) {
		return fmt.Errorf("note of %s: %w", reference, err)
	}
	return nil
}
