package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// holdType makes the check of a manifest's media type and the following writes one step, as seen
// by requests that push the same bytes with another type. A manifest that names its type itself
// can have no other, so hardly any push takes the lock.
func (s *Store) holdType(repo string, d digest.Digest, doc *core.Document, put core.ManifestPut) (release func()) {
	if doc.MediaType == put.MediaType {
		return func() {}
	}
	lock := s.tags.of(manifestKey(d, repo))
	lock.Lock()
	return lock.Unlock
}

// retype returns the media type under which repo holds the manifest if the put changes it, else an
// empty one. It changes what existing tags name, and clients might no longer be able to pull it,
// so it is an overwrite. Errors: ErrTypeHeld with CreateOnly.
func (s *Store) retype(ctx context.Context, repo string, d digest.Digest, doc *core.Document, put core.ManifestPut) (before string, err error) {
	if doc.MediaType == put.MediaType {
		return "", nil
	}
	key := manifestKey(d, repo)
	data, _, err := s.bucket.Get(ctx, key)
	if errors.Is(err, bucket.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", s.failed("manifest "+string(d), err)
	}
	held, err := decodeManifest(key, data, doc)
	if err != nil {
		held = doc.ServedType("") // a damaged record: only the document's shape is known
	}
	if held == put.MediaType {
		return "", nil
	}
	if put.CreateOnly {
		return "", core.WithDetail(
			fmt.Errorf("%w: %s holds %s as %q; push it with that Content-Type, or ask someone who may update there", core.ErrTypeHeld, repo, d, held),
			map[string]any{"digest": d, "media_type": held})
	}
	return held, nil
}
