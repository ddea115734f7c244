package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// graph reads the manifests, one at a time. A manifest that was deleted meanwhile is left out.
// One that cannot be read stops the collection of this repository, because it is unknown what it
// names. Errors: the bucket's, ErrDamaged.
func (c *collection) graph(ctx context.Context, repo string, manifests, blobs []digest.Digest) (*graph.Graph, error) {
	g := graph.New(manifests, blobs)
	for _, d := range manifests {
		// Not through the cache: a collection must not push out what clients use.
		m, doc, err := c.readManifest(ctx, repo, d)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		var subject digest.Digest
		if doc != nil {
			subject = doc.SubjectDigest()
		}
		g.Add(d, subject, m.Bytes)
	}
	return g, nil
}
