package store

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/graph"
)

// keepYoung keeps young manifests in g, which nothing else keeps. It returns all manifests that are
// kept for them alone.
func keepYoung(g *graph.Graph, young []digest.Digest) []digest.Digest {
	if len(young) == 0 {
		return nil
	}
	unkept := slices.Collect(g.Loose())
	for _, d := range young {
		g.Keep(d)
	}
	stillLoose := map[digest.Digest]struct{}{}
	for d := range g.Loose() {
		stillLoose[d] = struct{}{}
	}
	return slices.DeleteFunc(unkept, func(d digest.Digest) bool { _, loose := stillLoose[d]; return loose })
}

// await notes that the manifests young of repo, and the links that only these need, wait for the end
// of a grace. It takes them out of g, which is of no use afterwards.
func (c *collection) await(ctx context.Context, repo string, g *graph.Graph, young, links []digest.Digest) {
	if len(young) == 0 {
		return
	}
	used := make(map[digest.Digest]struct{}, len(links))
	for _, d := range links {
		if g.Used(d) {
			used[d] = struct{}{}
		}
	}
	for _, d := range young {
		data, err := c.readContent(ctx, d)
		if err != nil {
			data = nil // as collectUntagged will read it
		}
		g.Remove(d, data)
		c.waits(manifestKey(d, repo))
	}
	for d := range used {
		if !g.Used(d) {
			c.waits(linkKey(d, repo))
		}
	}
}
