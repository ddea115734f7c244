package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/graph"
)

// fault is why an image is left out. It does not end an import.
type fault struct{ error }

func faultf(format string, args ...any) error { return fault{fmt.Errorf(format, args...)} }

func isFault(err error) bool { var f fault; return errors.As(err, &f) }

// deletedHere is the reason for not importing something again that was deleted here.
const deletedHere = "it was deleted here after an import"

// found is an image that is being imported.
type found struct {
	Image
	listed bool // by the source's list, and not only by an index
	absent int  // manifests that it lists and that the source does not hold
}

// image imports one manifest with its tags, and reports their outcomes. Errors: ErrAbsent, and
// those that end the import.
func (r *repository) image(ctx context.Context, image *found, depth int) error {
	ctx = core.WithAccess(ctx, core.Access{Create: true, Known: true, Caller: r.User(image.By)})
	put := r.put
	if r.mirror != nil {
		put = r.seed
	}
	err := put(ctx, image, depth)
	skip := Skip("")
	switch {
	case errors.As(err, &skip):
		r.reportAll(image, Skipped, err.Error())
		return nil
	case errors.Is(err, ErrAbsent):
		if image.listed { // an index may list manifests that do not exist
			r.reportAll(image, LeftOut, "the manifest is missing")
		}
		return ErrAbsent
	case isFault(err):
		r.reportAll(image, LeftOut, err.Error())
		return nil
	case errors.Is(err, core.ErrNoSpace) && !errors.Is(err, context.Cause(ctx)): // another image's
		r.reportAll(image, LeftOut, err.Error())
	}
	return err
}

// reportAll reports the same outcome for every name of the image.
func (r *repository) reportAll(image *found, outcome Outcome, reason string) {
	if len(image.Tags) == 0 {
		r.reportOne(image, string(image.Digest), outcome, reason)
	}
	for _, tag := range image.Tags {
		r.reportOne(image, tag.Name, outcome, reason)
	}
}

func (r *repository) reportOne(image *found, reference string, outcome Outcome, reason string) {
	r.report(Item{Source: r.source, Repository: r.name, Reference: reference, Digest: image.Digest, Outcome: outcome, Reason: reason, Absent: image.absent})
}

// put imports an image, unless it exists, and sets its tags. Errors also: fault, ErrAbsent.
func (r *repository) put(ctx context.Context, image *found, depth int) error {
	manifest, doc, err := r.read(ctx, &image.Image)
	if err != nil {
		return err
	}
	held, err := r.holds(ctx, core.Reference{Digest: image.Digest})
	if err != nil {
		return err
	}
	if held == "" {
		deleted, err := r.noted(ctx, string(image.Digest))
		if err != nil {
			return err
		}
		if deleted {
			r.reportAll(image, Skipped, deletedHere)
			return nil
		}
	}
	if image.absent, err = r.children(ctx, doc, depth); err != nil {
		return err
	}
	tags, err := r.wantedTags(ctx, image)
	if err != nil {
		return err
	}
	if held != "" {
		if err := r.after(ctx, string(image.Digest)); err != nil {
			return err
		}
	}
	if held == "" || len(tags) > 0 {
		if err := r.keep(ctx, image, manifest, doc, tags, held == ""); err != nil {
			return err
		}
	}
	if !image.Pulled.IsZero() {
		r.mu.Lock()
		r.pulled[image.Digest] = image.Pulled
		r.mu.Unlock()
	}
	if len(image.Tags) == 0 {
		outcome := Imported
		if held != "" {
			outcome = Unchanged
		}
		r.reportOne(image, string(image.Digest), outcome, "")
	}
	return nil
}

// read returns the manifest, if it is one that a registry accepts. Errors also: fault, ErrAbsent.
func (r *repository) read(ctx context.Context, image *Image) (core.Manifest, *core.Document, error) {
	data, err := r.Source.Manifest(ctx, r.source, image.Digest)
	switch {
	case ctx.Err() != nil:
		return core.Manifest{}, nil, context.Cause(ctx)
	case errors.Is(err, ErrAbsent):
		return core.Manifest{}, nil, ErrAbsent
	case err != nil:
		return core.Manifest{}, nil, fault{err}
	case len(data) > core.MaxManifestSize:
		return core.Manifest{}, nil, fault{core.ErrManifestTooLarge}
	}
	if got := image.Digest.Algorithm().FromBytes(data); got != image.Digest {
		return core.Manifest{}, nil, faultf("the manifest is damaged: its digest is %s", got)
	}
	doc, err := core.Inspect(data)
	if err != nil {
		return core.Manifest{}, nil, fault{err}
	}
	mediaType := cmp.Or(doc.MediaType, image.MediaType, doc.ServedType(""))
	if err := doc.CheckPush(mediaType); err != nil {
		return core.Manifest{}, nil, fault{err}
	}
	return core.Manifest{
		Descriptor: core.Descriptor{MediaType: mediaType, Digest: image.Digest, Size: int64(len(data))},
		Bytes:      data,
	}, &doc, nil
}

// holds returns the digest that ref names here, or "".
func (r *repository) holds(ctx context.Context, ref core.Reference) (digest.Digest, error) {
	held, err := r.Target.Resolve(ctx, r.name, ref)
	if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
		return "", nil
	}
	return held.Digest, err
}

// children imports the manifests that an index names, as far as the source has them, and
// returns how many it has not: an index may be sparse, here as there.
func (r *repository) children(ctx context.Context, doc *core.Document, depth int) (absent int, err error) {
	if len(doc.Manifests) > 0 && depth >= maxDepth {
		return 0, faultf("it is an index in an index, %d levels deep", depth)
	}
	for _, child := range doc.Manifests {
		if !core.IsManifestType(child.MediaType) {
			continue
		}
		err := r.visit(ctx, child.Digest, child.MediaType, depth+1)
		if errors.Is(err, ErrAbsent) {
			absent++
		} else if err != nil {
			return 0, err
		}
	}
	return absent, nil
}

// wantedTags returns the tags that are to be set, and reports the others.
func (r *repository) wantedTags(ctx context.Context, image *found) (wanted []Tag, err error) {
	for _, tag := range image.Tags {
		if _, err := core.ParseTag(tag.Name); err != nil {
			r.reportOne(image, tag.Name, LeftOut, err.Error())
			continue
		}
		held, err := r.holds(ctx, core.Reference{Tag: tag.Name})
		if err != nil {
			return nil, err
		}
		if held == image.Digest {
			if err := r.after(ctx, tag.Name); err != nil {
				return nil, err
			}
			r.reportOne(image, tag.Name, Unchanged, "")
			continue
		}
		if held == "" {
			deleted, err := r.noted(ctx, tag.Name)
			if err != nil {
				return nil, err
			}
			if deleted {
				r.reportOne(image, tag.Name, Skipped, deletedHere)
				continue
			}
		}
		wanted = append(wanted, tag)
	}
	return wanted, nil
}

// after notes a reference that is here, except in a dry run.
func (r *repository) after(ctx context.Context, reference string) error {
	if r.DryRun {
		return nil
	}
	return r.note(ctx, reference)
}

// keep puts the manifest with the tags; fresh: its content, too.
func (r *repository) keep(ctx context.Context, image *found, m core.Manifest, doc *core.Document, tags []Tag, fresh bool) (err error) {
	put := core.ManifestPut{
		MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Digest: image.Digest, CreateOnly: true,
		Import: &core.Import{Pushed: image.Pushed},
	}
	for _, tag := range tags {
		put.Tags = append(put.Tags, tag.Name)
		put.Import.Tagged = append(put.Import.Tagged, tag.Since)
	}
	adopted := adoptions{}
	defer func() { err = errors.Join(err, adopted.close()) }()
	for attempt := 1; ; attempt++ {
		if fresh {
			if err := r.content(ctx, m.Bytes, doc, adopted); err != nil {
				return err
			}
		}
		if r.DryRun {
			for _, tag := range tags {
				r.reportOne(image, tag.Name, Imported, "")
			}
			return nil
		}
		if err := r.Room(int64(len(m.Bytes))); err != nil {
			return err
		}
		result, err := r.Target.PutManifest(ctx, r.name, put)
		switch {
		case errors.Is(err, core.ErrManifestBlobUnknown) && attempt < maxAttempts:
			fresh = true
			continue
		case errors.Is(err, core.ErrManifestInvalid), errors.Is(err, core.ErrTypeHeld), errors.Is(err, core.ErrManifestBlobUnknown):
			return fault{err}
		case err != nil && !errors.Is(err, core.ErrTagExists):
			return err
		}
		return r.reportPut(ctx, image, put.Tags, result.Tags)
	}
}

// reportPut notes what was put, and reports the tags. Those that were not set were pushed here.
func (r *repository) reportPut(ctx context.Context, image *found, asked, set []string) error {
	if err := r.note(ctx, string(image.Digest)); err != nil {
		return err
	}
	done := map[string]bool{}
	for _, tag := range set {
		done[tag] = true
	}
	for _, tag := range asked {
		if !done[tag] {
			r.reportOne(image, tag, Skipped, "it was pushed here and names another image")
			continue
		}
		if err := r.note(ctx, tag); err != nil {
			return err
		}
		r.reportOne(image, tag, Imported, "")
	}
	return nil
}

// content brings the blobs that the manifest needs, and those that it only names if the source
// has them.
func (r *repository) content(ctx context.Context, manifest []byte, doc *core.Document, adopted adoptions) error {
	required, named := contents(manifest, doc)
	layers := layersOf(doc)
	for _, desc := range required {
		if !layers[desc.Digest] {
			continue
		}
		if err := r.prepare(ctx, desc, adopted); err != nil {
			return missing(desc, err)
		}
	}
	for _, d := range named {
		if err := r.blob(ctx, core.Descriptor{Digest: d, Size: -1}); err != nil && !errors.Is(err, ErrAbsent) {
			return err
		}
	}
	for _, desc := range required {
		if adopted[desc.Digest] != nil {
			continue
		}
		if err := r.blob(ctx, desc); err != nil {
			return missing(desc, err)
		}
	}
	for d, layer := range adopted {
		if err := r.adopt(ctx, d, layer); err != nil {
			return err
		}
	}
	return nil
}

// missing is the error of a blob that the manifest needs.
func missing(desc core.Descriptor, err error) error {
	if errors.Is(err, ErrAbsent) {
		return faultf("blob %s is missing", desc.Digest)
	}
	return err
}

// layersOf returns what the manifest names as a layer, and as nothing else.
func layersOf(doc *core.Document) map[digest.Digest]bool {
	layers := map[digest.Digest]bool{}
	for _, desc := range doc.Layers {
		layers[desc.Digest] = true
	}
	for _, desc := range doc.Manifests {
		delete(layers, desc.Digest)
	}
	if doc.Config != nil {
		delete(layers, doc.Config.Digest)
	}
	delete(layers, doc.SubjectDigest())
	return layers
}

// contents returns the blobs that a manifest requires, and the digests of others that it
// names, each once. The largest required ones come first: the collector may remove blobs that
// wait too long for the others.
func contents(manifest []byte, doc *core.Document) (required []core.Descriptor, named []digest.Digest) {
	seen := map[digest.Digest]bool{doc.SubjectDigest(): true}
	for _, m := range doc.Manifests {
		seen[m.Digest] = core.IsManifestType(m.MediaType)
	}
	for _, desc := range doc.Required() {
		if !seen[desc.Digest] {
			seen[desc.Digest] = true
			required = append(required, desc)
		}
	}
	slices.SortStableFunc(required, func(a, b core.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	for d := range graph.Named(manifest) {
		if !seen[d] {
			seen[d] = true
			named = append(named, d)
		}
	}
	return required, named
}
