package store

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// wanted returns when the manifest d, which no tag reaches, was last in use: the latest of its push, the
// moment when the last tag left it, its last pull, and the conversion of the storage, since layout 2 recorded
// only the first. A damaged record counts from its last write. It returns the object with the time of the
// push. Errors: bucket.ErrNotExist, and others of the bucket.
func (c *collection) wanted(ctx context.Context, repo string, d digest.Digest, pulled map[digest.Digest]time.Time) (bucket.Info, time.Time, error) {
	data, info, err := c.bucket.Get(ctx, manifestKey(d, repo))
	if err != nil {
		return bucket.Info{}, time.Time{}, err
	}
	record, err := decodeLink(info, data)
	if err != nil {
		record = linkRecord{Since: info.Time}
	}
	info.Time = latest(record.Since, record.Again) // the record is rewritten when a tag leaves; its grace ended before that
	return info, latest(record.used(), pulled[d], c.converted), nil
}

// pulled returns when the manifests of repo were last pulled, as far as that is known.
func (c *collection) pulled(ctx context.Context, repo string) (map[digest.Digest]time.Time, error) {
	if c.lastPulled == nil {
		return nil, nil
	}
	return c.lastPulled(ctx, repo)
}
