package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// keepWhole notes that something in repo is damaged, so that nothing is removed that
// it may name.
func (c *collection) keepWhole(repo string, err error) {
	c.done.Kept++
	c.log.Error("repository is not collected, because something in it is damaged; push it again or delete it",
		"repository", repo, "error", err)
}

// keepTagged keeps in g what the tags of repo name. false without an error means that
// a tag is damaged, or names a manifest that does not exist: it is unknown which blobs
// it needs, so everything stays. The caller holds the repository's lock.
func (c *collection) keepTagged(ctx context.Context, repo string, g *graph.Graph) (known bool, err error) {
	known = true
	for row, err := range c.scanTags(ctx, repo, "") {
		if err == nil && !g.Has(row.Digest) {
			// It may have been pushed after the manifests were listed.
			if _, err = c.bucket.Stat(ctx, manifestKey(row.Digest, repo)); errors.Is(err, bucket.ErrNotExist) {
				err = fmt.Errorf("tag %s is %w: it names %s, which does not exist", row.Name, ErrDamaged, row.Digest)
			}
		}
		if errors.Is(err, ErrDamaged) {
			if known {
				c.keepWhole(repo, err)
			}
			known = false
			continue
		} else if err != nil {
			return false, err
		}
		g.Keep(row.Digest)
	}
	return known, nil
}
