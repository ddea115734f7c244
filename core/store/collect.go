package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// CollectOptions configure a collection.
type CollectOptions struct {
	// DryRun counts and removes nothing.
	DryRun bool
	// Idle says that no client has been served from this storage within the
	// grace, so that the times on disk are sufficient (a command on a stopped
	// registry).
	Idle bool
	// Pressed reports whether space is needed. While it is, uploads that have been
	// idle for ten minutes are removed too, the oldest first. Default: after a write
	// met a full disk, until the end of the collection.
	Pressed func() bool
}

// Collected counts what a collection removed, or would remove.
type Collected struct {
	Manifests int   `json:"manifests"` // untagged, from their repositories
	Links     int   `json:"links"`     // blobs no longer readable in a repository
	Blobs     int   `json:"blobs"`     // content, of blobs and of manifests
	Bytes     int64 `json:"bytes"`     // of that content
	Uploads   int   `json:"uploads"`   // abandoned
	// Waiting is content that nothing keeps any more, and that is left because its grace, or that
	// of what named it, is not over. The first collection after their end removes it. What was
	// deleted since the last collection is not in it yet, and after an error it is not complete. It has
	// what at most maxWaiting links hold.
	Waiting Amount `json:"waiting"`
	// Kept counts the repositories in which something is damaged, so that nothing was
	// removed that it may name. The details are in the log.
	Kept int `json:"kept"`
}

// Amount is a number of objects, each digest once, and their bytes.
type Amount struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// collection is one run of the collector.
type collection struct {
	*Store
	CollectOptions
	settings Settings
	now      time.Time
	done     Collected
	unneeded unneeded
	waiting  int // of unneeded, at most maxWaiting
}

// unneeded are keys of holds that nothing needs, with what becomes of them.
type unneeded map[string]fate

type fate int

const (
	needed  fate = iota
	waiting      // its grace is not over
	going        // a dry run would remove it
)

// maxWaiting bounds the holds that a collection remembers as waiting: each takes some 250 bytes of memory, and
// whoever may upload makes them. Those beyond it are kept, and not counted.
const maxWaiting = 1 << 18

// waits notes that the hold at key waits for the end of a grace.
func (c *collection) waits(key string) {
	if c.waiting < maxWaiting {
		c.waiting++
		c.unneeded[key] = waiting
	}
}

// Collect removes unneeded objects: untagged manifests if the settings say so, links
// to blobs that no manifest of the repository names, content that no repository
// holds, and abandoned uploads. It removes each only when its grace is over. It runs
// beside pushes and pulls. It needs a few hundred bytes of memory for each link of
// the store.
//
// It trusts only the bucket, not the names. Errors are the bucket's; the result then
// counts what was removed before.
func (s *Store) Collect(ctx context.Context, how CollectOptions) (Collected, error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	c := &collection{Store: s, CollectOptions: how, settings: *s.settings.Load(), now: s.now(), unneeded: unneeded{}}
	err := c.run(ctx)
	s.grace.prune(c.now.Add(-c.settings.Grace))
	if !s.names.Ready() && ctx.Err() == nil {
		s.rebuild(ctx)
	}
	if ctx.Err() == nil {
		s.describeHeld(ctx)
	}
	return c.done, err
}

func (c *collection) run(ctx context.Context) error {
	if err := c.collectUploads(ctx); err != nil {
		return fmt.Errorf("collect uploads: %w", err)
	}
	// Links are listed before manifests: a manifest pushed after the links were
	// listed names only links that it touched or that are young.
	links, err := c.group(ctx, blobsPrefix)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	manifests, err := c.group(ctx, manifestsPrefix)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	for repo := range manifests {
		if _, ok := links[repo]; !ok {
			links[repo] = nil
		}
	}
	var failed []error // one damaged repository does not keep the others from being collected
	for repo, held := range links {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.collectRepository(ctx, repo, manifests[repo], held); err != nil {
			failed = append(failed, fmt.Errorf("collect %s: %w", repo, err))
		}
	}
	if err := c.collectContent(ctx); err != nil {
		failed = append(failed, fmt.Errorf("collect content: %w", err))
	}
	return errors.Join(failed...)
}

// group is a scan of digest-major keys in the order of repositories.
func (c *collection) group(ctx context.Context, prefix string) (map[string][]digest.Digest, error) {
	held := map[string][]digest.Digest{}
	for entry, err := range c.scanLinks(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		held[entry.Repo] = append(held[entry.Repo], entry.Digest)
	}
	return held, nil
}

// young reports whether an object's grace is still running, by its time on disk and
// by the answers that clients got. After a start everything is young, because earlier
// answers are not remembered.
func (c *collection) young(info bucket.Info, repo string, d digest.Digest) bool {
	since := c.now.Add(-c.settings.Grace)
	return info.Time.After(since) || c.grace.young(since, repo, d) || (!c.Idle && c.started.After(since))
}

// collectRepository removes untagged manifests and unneeded links of one
// repository. The manifests are read before its lock is taken: they do not change.
func (c *collection) collectRepository(ctx context.Context, repo string, manifests, links []digest.Digest) error {
	g, err := c.graph(ctx, repo, manifests, links)
	if errors.Is(err, ErrDamaged) {
		c.keepWhole(repo, err)
		return nil
	} else if err != nil {
		return err
	}
	defer c.repos.lock(repo)()
	if err := c.settle(ctx, repo); err != nil {
		return err
	}
	if known, err := c.keepTagged(ctx, repo, g); err != nil || !known {
		return err
	}
	young, err := c.collectUntagged(ctx, repo, g)
	if err != nil {
		return err
	}
	var gone []string
	for _, d := range links {
		if g.Used(d) {
			continue
		}
		key := linkKey(d, repo)
		info, err := c.bucket.Stat(ctx, key)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if c.young(info, repo, d) {
			c.waits(key)
			continue
		}
		c.done.Links++
		if c.DryRun {
			c.unneeded[key] = going
			continue
		}
		if err := c.remove(ctx, key); err != nil {
			return err
		}
		c.changed(Change{Event: BlobUnlinked, Repo: repo, Digest: d})
		gone = append(gone, key)
	}
	c.await(ctx, repo, g, young, links)
	return c.sync(ctx, gone...)
}

// collectUntagged removes the manifests of g that are not reachable and that no tag
// keeps, if so configured, and takes them out of g. It returns those that stay only
// because their grace, or that of one that needs them, is not over.
func (c *collection) collectUntagged(ctx context.Context, repo string, g *graph.Graph) (young []digest.Digest, err error) {
	if c.settings.Untagged < 0 {
		return nil, nil
	}
	pulled, err := c.pulled(ctx, repo)
	if err != nil {
		return nil, err
	}
	for d := range g.Loose() {
		info, wanted, err := c.wanted(ctx, repo, d, pulled)
		if errors.Is(err, bucket.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if wanted.After(c.now.Add(-c.settings.Untagged)) {
			g.Keep(d) // and what it needs
		} else if c.young(info, repo, d) {
			young = append(young, d)
		}
	}
	young = keepYoung(g, young)
	for d := range g.Loose() {
		// The manifest is removed, whether it can be read again or not.
		data, err := c.readContent(ctx, d)
		if err != nil {
			data = nil
		}
		g.Remove(d, data)
		if _, err := c.bucket.Stat(ctx, manifestKey(d, repo)); errors.Is(err, bucket.ErrNotExist) {
			continue // deleted meanwhile
		}
		c.done.Manifests++
		if c.DryRun {
			c.unneeded[manifestKey(d, repo)] = going
			continue
		}
		if err := c.dropManifest(ctx, repo, core.Manifest{Descriptor: core.Descriptor{Digest: d}, Bytes: data}); err != nil {
			return nil, err
		}
	}
	// This comes before any link is removed: after a power cut a manifest that still
	// exists has its blobs.
	return young, c.settle(ctx, repo)
}

// collectContent removes content that no repository holds. It finds candidates in one
// pass over content and holds, and looks only at each candidate by itself.
func (c *collection) collectContent(ctx context.Context) error {
	for content, err := range c.contents(ctx, "", c.unneeded) {
		if err != nil {
			return err
		}
		if len(content.Repos) > 0 {
			continue
		}
		if content.waits || content.info.Time.After(c.now.Add(-c.settings.Grace)) {
			c.done.Waiting.Objects++
			c.done.Waiting.Bytes += content.Size
			continue
		}
		if c.DryRun {
			c.done.Blobs++
			c.done.Bytes += content.Size
			continue
		}
		dropped, err := c.dropUnheld(ctx, content.Digest)
		if err != nil {
			return err
		}
		if dropped {
			c.done.Blobs++
			c.done.Bytes += content.Size
		}
	}
	return nil
}
