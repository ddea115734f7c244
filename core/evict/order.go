package evict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/store"
)

// group is a set of manifests that are evicted together: an index with its held platforms, or one
// image, and their referrers.
type group struct {
	repo      string
	manifests []digest.Digest
	pulled    time.Time
}

// order returns everything that is held, the least recently pulled first. It drops the times of
// manifests that are not held any more.
func (p *pass) order(ctx context.Context) (groups []group, failed []error) {
	some := map[string]bool{}
	for repo, err := range p.Local.Repositories(ctx, "") {
		if err != nil {
			return groups, append(failed, fmt.Errorf("list what mirrors hold: %w", err))
		}
		some[repo] = true
		of, err := p.groups(ctx, repo)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		groups = append(groups, of...)
	}
	for repo, err := range p.Pulls.Repositories(ctx) {
		if err == nil && !some[repo] {
			err = p.Pulls.Fold(ctx, repo, pulls.Keep{
				Manifest: func(digest.Digest) bool { return false }, Tag: func(string) bool { return false },
			})
		}
		if err != nil {
			failed = append(failed, err)
			break
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int { return a.pulled.Compare(b.pulled) })
	return groups, failed
}

// maxDue bounds what Next returns.
const maxDue = 10

// Due is an image that a mirror drops before others.
type Due struct {
	Repo string
	// Manifest is the image, or one of those that go together.
	Manifest digest.Digest
	// Pulled is its last pull. It goes at End, unless it is pulled again, and before that if space
	// is needed.
	Pulled, End time.Time
}

// Next returns what a mirror drops next, at most ten images, and as of when. It is from the last
// search for manifests that were not pulled for long, and reads nothing. The time is zero before the
// first search.
func (e *Evictor) Next(mirror string) ([]Due, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.next[mirror]), e.sought
}

// MaxSize returns how much a mirror may hold, or 0 if only the disk bounds it.
func (e *Evictor) MaxSize(mirror string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.settings == nil {
		return 0
	}
	return e.settings.limits(mirror).MaxSize
}

// remember keeps what goes next of the groups that are left, in the order of pulls.
func (p *pass) remember(left []group) {
	next := map[string][]Due{}
	for _, g := range left {
		name := mirrorOf(g.repo)
		if len(g.manifests) > 0 && len(next[name]) < maxDue {
			next[name] = append(next[name], Due{g.repo, g.manifests[0], g.pulled, g.pulled.Add(p.settings.limits(name).Keep)})
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.sought = next, p.now
}

// groups are those of one repository.
func (p *pass) groups(ctx context.Context, repo string) ([]group, error) {
	times, err := p.Pulls.Of(ctx, repo)
	if err != nil {
		return nil, err
	}
	nodes := nodes{}
	for held, err := range p.Local.Manifests(ctx, repo) {
		if err != nil {
			return nil, err
		}
		nodes.add(held, times[held.Digest])
	}
	tags := map[string]struct{}{}
	for tag, err := range p.Local.Tags(ctx, repo, "") {
		if errors.Is(err, core.ErrNameUnknown) {
			break
		} else if err != nil {
			return nil, err
		}
		tags[tag] = struct{}{}
	}
	err = p.Pulls.Fold(ctx, repo, pulls.Keep{
		Manifest: func(d digest.Digest) bool { return nodes[d] != nil },
		Tag:      func(tag string) bool { _, ok := tags[tag]; return ok },
	})
	return nodes.groups(repo), err
}

// nodes are the manifests of a repository as far as the order needs them.
type nodes map[digest.Digest]*node

type node struct {
	pulled    time.Time
	children  []digest.Digest // held manifests that it names: of an index
	referrers []digest.Digest
	subject   digest.Digest
	height    int // above the images; 0: not known yet
	grouped   bool
}

// arrives bounds the time between the pull that fetched a manifest and its write to the store,
// which follows the answer.
const arrives = time.Minute

// add adds a manifest. Without a recorded pull it counts from its arrival. So does a manifest
// that was fetched again since, when a kill has lost the pull that fetched it.
func (ns nodes) add(held store.Held, pulled time.Time) {
	n := &node{pulled: pulled, subject: held.Subject, children: held.Names}
	if held.Time.Sub(pulled) > arrives {
		n.pulled = held.Time
	}
	ns[held.Digest] = n
}

// groups puts every manifest into one group. An index counts as pulled when one of its platforms
// was, also by digest. It keeps all of its held platforms, as a subject keeps its referrers. So
// the manifests are processed in the order of pulls, the newest first, and each adds to its group
// what it needs and no other group has yet.
func (ns nodes) groups(repo string) []group {
	sorted := make([]digest.Digest, 0, len(ns))
	for d, n := range ns {
		ns.raise(n)
		if subject := ns[n.subject]; subject != nil {
			subject.referrers = append(subject.referrers, d)
		}
		sorted = append(sorted, d)
	}
	slices.SortFunc(sorted, func(a, b digest.Digest) int {
		return cmp.Or(ns[b].pulled.Compare(ns[a].pulled), cmp.Compare(ns[b].height, ns[a].height), cmp.Compare(a, b))
	})
	var groups []group
	for _, d := range sorted {
		if ns[d].grouped {
			continue
		}
		g := group{repo: repo, pulled: ns[d].pulled}
		pending := []digest.Digest{d}
		for len(pending) > 0 {
			d := pending[0]
			pending = pending[1:]
			n := ns[d]
			if n == nil || n.grouped {
				continue
			}
			n.grouped = true
			g.manifests = append(g.manifests, d)
			pending = append(append(pending, n.children...), n.referrers...)
		}
		groups = append(groups, g)
	}
	return groups
}

// raise raises the time of an index to the last pull of its platforms. Digests cannot form
// cycles.
func (ns nodes) raise(n *node) {
	if n.height > 0 {
		return
	}
	n.height = 1
	for _, d := range n.children {
		if child := ns[d]; child != nil {
			ns.raise(child)
			n.height = max(n.height, child.height+1)
			if child.pulled.After(n.pulled) {
				n.pulled = child.pulled
			}
		}
	}
}
