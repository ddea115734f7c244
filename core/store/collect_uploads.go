package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// idleUpload is how long an upload must have been idle to be removed when space is
// needed. An active client adds bytes more often.
const idleUpload = 10 * time.Minute

// collectUploads drops uploads that have been idle for long, and under pressure also
// those that have been idle for a while, the oldest first.
func (c *collection) collectUploads(ctx context.Context) error {
	full := c.full.Load()
	if !c.DryRun {
		c.full.Store(false)
	}
	pressed := func() bool { return full || c.Pressed != nil && c.Pressed() }
	var uploads []bucket.UploadInfo
	for info, err := range c.bucket.Uploads(ctx) {
		if err != nil {
			return err
		}
		if !info.Time.After(c.now.Add(-min(idleUpload, c.settings.UploadAge))) {
			uploads = append(uploads, info)
		}
	}
	slices.SortFunc(uploads, func(a, b bucket.UploadInfo) int { return a.Time.Compare(b.Time) })
	for _, info := range uploads {
		if info.Time.After(c.now.Add(-c.settings.UploadAge)) && !pressed() {
			return nil // the rest is younger
		}
		dropped, err := true, error(nil)
		if !c.DryRun {
			if dropped, err = c.dropUpload(ctx, info.ID); err != nil {
				return err
			}
		}
		if dropped {
			c.done.Uploads++
		}
	}
	return nil
}

// dropUpload drops the upload unless a client is writing to it, and reports whether
// it is gone.
func (c *collection) dropUpload(ctx context.Context, id string) (dropped bool, err error) {
	held, err := c.bucket.Upload(ctx, id)
	if errors.Is(err, bucket.ErrNotExist) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	defer held.Close()
	if !c.uploads.endBucket(id) {
		return false, nil
	}
	return true, held.Abort(ctx)
}
