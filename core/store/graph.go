package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// graph is what the manifests of one repository name.
type graph map[digest.Digest]*node

type node struct {
	manifest core.Manifest
	links    core.Links
	// referrers are the manifests whose subject this one is.
	referrers []digest.Digest
	kept      bool
}

// graph reads the manifests. One that was deleted meanwhile is left out. One that
// cannot be read stops the collection of this repository: what it names is unknown.
// Errors: the bucket's, ErrDamaged.
func (c *collection) graph(ctx context.Context, repo string, manifests []digest.Digest) (graph, error) {
	g := make(graph, len(manifests))
	for _, d := range manifests {
		// Not through the cache: a collection must not push out what clients use.
		m, err := c.readManifest(ctx, repo, d)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		links, err := heldLinks(m.Bytes)
		if err != nil {
			return nil, err
		}
		g[d] = &node{manifest: m, links: links}
	}
	for d, n := range g {
		if subject, ok := g[n.links.SubjectDigest()]; ok {
			subject.referrers = append(subject.referrers, d)
		}
	}
	return g, nil
}

// keep marks d and everything that is kept with it: an index keeps its children, a
// subject its referrers.
func (g graph) keep(d digest.Digest) {
	pending := []digest.Digest{d}
	for len(pending) > 0 {
		n := g[pending[len(pending)-1]]
		pending = pending[:len(pending)-1]
		if n == nil || n.kept {
			continue
		}
		n.kept = true
		for _, child := range n.links.Manifests {
			pending = append(pending, child.Digest)
		}
		pending = append(pending, n.referrers...)
	}
}

// blobs are the blobs that the manifests of g name.
func (g graph) blobs() map[digest.Digest]struct{} {
	needed := map[digest.Digest]struct{}{}
	for _, n := range g {
		for _, desc := range n.links.Blobs {
			needed[desc.Digest] = struct{}{}
		}
	}
	return needed
}

// heldLinks returns what a manifest that is held names: the rules of a push do not apply to it.
func heldLinks(manifest []byte) (core.Links, error) {
	doc, err := core.Inspect(manifest)
	return core.Links{
		Blobs: doc.Required(), Manifests: doc.Manifests, Subject: doc.Subject,
		ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}, err
}
