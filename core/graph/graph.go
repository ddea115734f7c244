// Package graph knows what manifests name.
//
// There are two questions. Which content must be in a repository when a manifest is pushed there?
// That is core.Document.Required: config and layers. Which content is needed as long as the manifest is
// held? That is Named, for every kind of manifest: an index may name blobs (BuildKit's cache), layers that
// need not be pushed may have been, and unknown kinds of artifacts name content in members of their own.
// The collector, deletions and eviction all ask the second question.
//
// A Graph is the answer for one repository. It holds digests and no manifests:
//
//	g := graph.New(manifests, blobs)
//	// for each manifest:       g.Add(digest, subject, bytes)
//	// for each tag:            g.Keep(digest)
//	// for each of g.Loose():   g.Remove(digest, bytes)
//	// for each blob:           g.Used(digest)
//
// It does no I/O and is not safe for concurrent use.
package graph

import (
	"iter"

	"github.com/opencontainers/go-digest"
)

// Graph records which content of one repository its manifests name. It needs some hundred bytes for each
// digest, and four for each manifest that another names.
type Graph struct {
	at    map[digest.Digest]int32
	nodes []node
	walk  int32 // of named, from 1
}

type node struct {
	digest    digest.Digest
	manifest  bool    // it is held as a manifest
	added     bool    // and was added
	kept      bool    // see Keep
	users     int32   // added manifests that name it
	walked    int32   // the last walk that visited it
	manifests []int32 // held manifests that it names
	referrers []int32 // manifests whose subject it is
}

// New returns a graph of a repository that holds these manifests and blobs. A digest may be both.
func New(manifests, blobs []digest.Digest) *Graph {
	g := &Graph{at: make(map[digest.Digest]int32, len(manifests)+len(blobs))}
	for _, d := range manifests {
		g.nodes[g.node(d)].manifest = true
	}
	for _, d := range blobs {
		g.node(d)
	}
	return g
}

func (g *Graph) node(d digest.Digest) int32 {
	i, ok := g.at[d]
	if !ok {
		i = int32(len(g.nodes))
		g.at[d] = i
		g.nodes = append(g.nodes, node{digest: d})
	}
	return i
}

// named yields the content of the repository that a manifest names, each once.
func (g *Graph) named(manifest []byte) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		g.walk++
		for d := range Named(manifest) {
			i, ok := g.at[d]
			if !ok || g.nodes[i].walked == g.walk {
				continue
			}
			g.nodes[i].walked = g.walk
			if !yield(i) {
				return
			}
		}
	}
}

// Add adds one of the manifests, with its subject, which may be empty. Its bytes are not kept.
func (g *Graph) Add(d, subject digest.Digest, manifest []byte) {
	i := g.node(d)
	g.nodes[i].manifest, g.nodes[i].added = true, true
	for to := range g.named(manifest) {
		g.nodes[to].users++
		if g.nodes[to].manifest {
			g.nodes[i].manifests = append(g.nodes[i].manifests, to)
		}
	}
	if to, ok := g.at[subject]; ok {
		g.nodes[to].referrers = append(g.nodes[to].referrers, i)
	}
}

// Has reports whether d was added, and not removed.
func (g *Graph) Has(d digest.Digest) bool {
	i, ok := g.at[d]
	return ok && g.nodes[i].added
}

// Keep marks the manifest d and all that is kept with it: the manifests that it names, among them
// its subject, and those whose subject it is.
func (g *Graph) Keep(d digest.Digest) {
	first, ok := g.at[d]
	if !ok {
		return
	}
	pending := []int32{first}
	for len(pending) > 0 {
		n := &g.nodes[pending[len(pending)-1]]
		pending = pending[:len(pending)-1]
		if n.kept || !n.added {
			continue
		}
		n.kept = true
		pending = append(append(pending, n.manifests...), n.referrers...)
	}
}

// Loose yields the manifests that were added and are not kept.
func (g *Graph) Loose() iter.Seq[digest.Digest] {
	return func(yield func(digest.Digest) bool) {
		for i := range g.nodes {
			if n := &g.nodes[i]; n.added && !n.kept && !yield(n.digest) {
				return
			}
		}
	}
}

// Remove removes a manifest that was added, so that the content it names has one user less. manifest is
// its bytes again; without them that content stays used.
func (g *Graph) Remove(d digest.Digest, manifest []byte) {
	i, ok := g.at[d]
	if !ok || !g.nodes[i].added {
		return
	}
	g.nodes[i].added = false
	for to := range g.named(manifest) {
		g.nodes[to].users--
	}
}

// Used reports whether a manifest that was added, and not removed, names d.
func (g *Graph) Used(d digest.Digest) bool {
	i, ok := g.at[d]
	return ok && g.nodes[i].users > 0
}
