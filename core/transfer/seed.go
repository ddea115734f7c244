package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Mirror is the destination of what the source has cached of another registry, the upstream.
// Nothing of it is stored before the upstream has shown that very content, in that repository, to
// an anonymous caller: then it is what a pull through the mirror would have stored. A tag is set if
// the upstream's names the same image.
type Mirror struct {
	// Target is the sparse store of mirrors.
	Target   Target
	Upstream Upstream
	// Room returns nil if size bytes more may be kept. Errors: Skip, with the limit that is
	// reached.
	Room func(ctx context.Context, repo string, size int64) error
	// Kept is called with the size of each blob that was copied.
	Kept func(repo string, size int64)
}

// Upstream asks the upstream of a mirror, without credentials. *mirror.Mirror implements it. Errors
// mean that it cannot be asked; core.ErrDenied: the mirror does not serve this name.
type Upstream interface {
	// ShowsTag returns the manifest that a tag names, or "".
	ShowsTag(ctx context.Context, repo, tag string) (digest.Digest, error)
	ShowsManifest(ctx context.Context, repo string, d digest.Digest) (bool, error)
	ShowsBlob(ctx context.Context, repo string, d digest.Digest, size int64) (bool, error)
	// Learn stores a manifest that was shown at a time, with the tags that name it there. Errors:
	// those of the store.
	Learn(ctx context.Context, repo string, m core.Manifest, tags []string, at time.Time) error
}

// errNotShown is the error for a blob that the upstream does not show to anonymous callers.
var errNotShown = errors.New("the upstream does not show it to anonymous callers")

// seed imports an image into a mirror, as put does into a private repository. Without its manifest
// the blobs are of use, too: zot converts manifests unless it is told not to, and the upstream's
// own manifest names the same blobs. The collector removes them after its grace unless a pull has
// come. Errors also: fault, ErrAbsent, Skip.
func (r *repository) seed(ctx context.Context, image *found, depth int) error {
	manifest, doc, err := r.read(ctx, &image.Image)
	if err != nil {
		return err
	}
	if image.absent, err = r.children(ctx, doc, depth); err != nil {
		return err
	}
	outcome, err := r.seedManifest(ctx, image, manifest)
	if err != nil {
		return err
	}
	required, _ := contents(manifest.Bytes, doc)
	kept := 0
	for _, desc := range required {
		err := r.blob(ctx, desc)
		if err == nil {
			kept++
		} else if !errors.Is(err, errNotShown) && !errors.Is(err, ErrAbsent) {
			return err
		}
	}
	reason := ""
	if outcome == NotServed {
		reason = fmt.Sprintf("the upstream does not show this manifest to anonymous callers; it shows %d of %d blobs, which are kept for a pull that comes soon",
			kept, len(required))
	}
	r.reportAll(image, outcome, reason)
	return nil
}

// seedManifest stores a manifest and its tags, as far as the upstream shows them: before the blobs,
// so that the collector finds those in use. Errors also: fault, Skip.
func (r *repository) seedManifest(ctx context.Context, image *found, m core.Manifest) (Outcome, error) {
	held, err := r.holds(ctx, core.Reference{Digest: image.Digest})
	if err != nil {
		return "", err
	}
	asked := time.Now()
	tags, err := r.shownTags(ctx, image)
	if err != nil {
		return "", err
	}
	shown := held != "" || len(tags) > 0
	if !shown {
		if shown, err = r.mirror.Upstream.ShowsManifest(ctx, r.name, image.Digest); err != nil {
			return "", r.unasked(ctx, err)
		}
	}
	switch {
	case !shown:
		return NotServed, nil
	case held != "" && len(tags) == 0:
		return Unchanged, nil
	}
	if err := r.Room(m.Descriptor.Size); err != nil || r.DryRun {
		return Imported, err
	}
	err = r.mirror.Upstream.Learn(ctx, r.name, m, tags, asked)
	if errors.Is(err, core.ErrManifestInvalid) || errors.Is(err, core.ErrTypeHeld) {
		return "", fault{err}
	}
	return Imported, err
}

// shownTags returns the tags that name the image at the upstream, too, and not here yet.
func (r *repository) shownTags(ctx context.Context, image *found) (tags []string, err error) {
	for _, tag := range image.Tags {
		if _, err := core.ParseTag(tag.Name); err != nil {
			continue // no registry has it
		}
		held, err := r.holds(ctx, core.Reference{Tag: tag.Name})
		if err != nil {
			return nil, err
		}
		if held == image.Digest {
			continue
		}
		switch named, err := r.mirror.Upstream.ShowsTag(ctx, r.name, tag.Name); {
		case err != nil:
			return nil, r.unasked(ctx, err)
		case named == image.Digest:
			tags = append(tags, tag.Name)
		}
	}
	return tags, nil
}

// attested returns nil if the blob may be stored: always in a private repository. Errors:
// errNotShown, fault, ErrAbsent, Skip.
func (r *repository) attested(ctx context.Context, desc core.Descriptor) error {
	if r.mirror == nil {
		return nil
	}
	content, _, err := r.open(ctx, desc)
	if err != nil {
		return err // the upstream is not asked about what the source does not have
	}
	content.Close()
	switch shown, err := r.mirror.Upstream.ShowsBlob(ctx, r.name, desc.Digest, desc.Size); {
	case err != nil:
		return r.unasked(ctx, err)
	case !shown:
		return errNotShown
	}
	return nil
}

// unasked returns the error for an upstream that cannot be asked.
func (r *repository) unasked(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, core.ErrDenied):
		return Skip(err.Error())
	}
	return faultf("the upstream cannot be asked whether it shows this to anonymous callers: %w; import again later", err)
}

// kept counts a copied blob for the limits of the mirror.
func (r *repository) kept(n int64) {
	if r.mirror != nil {
		r.mirror.Kept(r.name, n)
	}
}
