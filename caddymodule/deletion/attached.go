package deletion

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// attachments adds the manifests that tags attach to an image, each of which is looked up. One that
// has the image as a part is not attached to it, whatever its tag.
func (f *finder) attachments(ctx context.Context, image *Image) error {
	for _, tag := range core.AttachedTags(image.Digest) {
		row, err := f.TagRow(ctx, f.repo, tag.Name)
		if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
			continue
		} else if err != nil {
			return err
		}
		d := row.Image.Digest
		if !tag.Attaches(image.Digest, row) || slices.Contains(image.Users, d) && row.Image.Subject != image.Digest {
			continue
		}
		if _, err := f.add(ctx, &Image{ImageRow: core.ImageRow{Digest: d}, Part: Refers, Of: image.Digest, Attached: tag.What}); err != nil {
			return err
		}
		one := f.found[d]
		if one == nil {
			continue // deleted meanwhile
		}
		image.attached = append(image.attached, one)
		if one.attachedBy == nil {
			one.attachedBy = map[string]bool{}
		}
		one.attachedBy[tag.Name] = true
	}
	return nil
}

// tagged reports whether an image has a tag that keeps it: one that does not only attach it to another
// image of the plan.
func (f *finder) tagged(image *Image) bool {
	return slices.ContainsFunc(image.Names, func(tag string) bool { return !image.attachedBy[tag] })
}

// outside reports whether a manifest that is not in the plan names an image or is its subject.
func (f *finder) outside(image *Image) bool {
	return slices.ContainsFunc(image.Users, func(user digest.Digest) bool { return f.found[user] == nil }) ||
		slices.ContainsFunc(image.content, func(named core.NamedRow) bool {
			return named.Manifest && named.Digest == image.Subject && f.found[named.Digest] == nil
		})
}
