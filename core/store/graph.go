package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// graph reads the manifests, one at a time. One that was deleted meanwhile is left out. One that
// cannot be read stops the collection of this repository: what it names is unknown.
// Errors: the bucket's, ErrDamaged.
func (c *collection) graph(ctx context.Context, repo string, manifests, blobs []digest.Digest) (*graph.Graph, error) {
	g := graph.New(manifests, blobs)
	for _, d := range manifests {
		// Not through the cache: a collection must not push out what clients use.
		m, err := c.readManifest(ctx, repo, d)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		g.Add(d, subjectOf(m.Bytes), m.Bytes)
	}
	return g, nil
}

// subjectOf returns the subject of a manifest, or "".
func subjectOf(manifest []byte) digest.Digest {
	doc, err := core.Inspect(manifest)
	if err != nil {
		return ""
	}
	return doc.SubjectDigest()
}
