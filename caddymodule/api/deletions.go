package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/deletion"
	"github.com/eblume/caddy-registry/core"
)

// planParameter names the plan that a deletion carries out.
const planParameter = "plan"

var (
	errTooMany  = &problem{status: http.StatusBadRequest, code: "UNSUPPORTED", message: "what goes with this image is more than one answer can have; delete its parts first, or the manifest alone"}
	errBuilding = &problem{status: http.StatusServiceUnavailable, code: "UNAVAILABLE", message: "what goes with an image is not known while the index is being built; try again later"}
)

func (e *exchange) deleteTag() (any, error) {
	ctx, went := core.WithDeletion(e.r.Context())
	if err := e.Registry.DeleteTag(ctx, e.repo, e.tag); err != nil {
		return nil, err
	}
	return Deleted{Deletion{Repository: e.repo, Digest: went.Digest, Tags: []string{e.tag}}}, nil
}

// deleteImage deletes a manifest, or what a plan has.
func (e *exchange) deleteImage() (any, error) {
	if key, ok := e.query[planParameter]; ok {
		return e.carryOut(key)
	}
	ctx, went := core.WithDeletion(e.r.Context())
	if err := e.Registry.DeleteManifest(ctx, e.repo, e.digest); err != nil {
		return nil, err
	}
	return Deleted{Deletion{Repository: e.repo, Digest: e.digest, Manifest: true, Tags: append([]string{}, went.Tags...)}}, nil
}

// mayDelete returns the refusal of a caller who may not delete here. Plans are for those who may: they
// can read much.
func (e *exchange) mayDelete() error {
	if e.MayDelete == nil {
		return nil
	}
	return e.MayDelete(e.repo)
}

// plan makes the plan of deleting a manifest with what goes with it.
func (e *exchange) plan(d digest.Digest) (*deletion.Plan, error) {
	plan, err := deletion.Of(e.r.Context(), e.Registry, e.repo, []digest.Digest{d}, e.Mirror)
	switch {
	case errors.Is(err, deletion.ErrTooMany):
		err = errTooMany
	case errors.Is(err, deletion.ErrBuilding):
		err = errBuilding
	}
	return plan, err
}

// planned describes the deletion of what a tag names, or of a manifest.
func (e *exchange) planned() (any, error) {
	if err := e.mayDelete(); err != nil {
		return nil, err
	}
	d := e.digest
	if e.tag != "" {
		tag, err := e.Registry.TagRow(e.r.Context(), e.repo, e.tag)
		if err != nil {
			return nil, err
		}
		d = tag.Digest
	}
	plan, err := e.plan(d)
	if err != nil {
		return nil, err
	}
	answer := PlanAnswer{
		Repository: e.repo, Digest: d, Key: plan.Key(), Goes: shownParts(plan.Goes), Stays: shownParts(plan.Stays),
		Tags: append([]string{}, plan.Tags()...), Within: append([]digest.Digest{}, plan.Within...), Bytes: plan.Bytes, AtMost: plan.AtMost,
	}
	return answer, nil
}

// carryOut deletes what the plan of that key has, unless it is another one now.
func (e *exchange) carryOut(key string) (any, error) {
	if key == "" {
		return nil, invalid("%s is the key of /api/images/<repository>@<digest>/-/deletion", planParameter)
	}
	if err := e.mayDelete(); err != nil {
		return nil, err
	}
	plan, err := e.plan(e.digest)
	if err != nil {
		return nil, err
	}
	if plan.Key() != key {
		return nil, fmt.Errorf("%w: the plan is another one now, and nothing was deleted; ask for it again", core.ErrChanged)
	}
	// A client that leaves does not end it halfway.
	went, err := plan.Delete(context.WithoutCancel(e.r.Context()), e.Registry)
	answer := Deletion{Repository: e.repo, Digest: e.digest, Manifest: true, Tags: []string{}, Manifests: []digest.Digest{}}
	for _, image := range went {
		answer.Manifests = append(answer.Manifests, image.Digest)
		answer.Tags = append(answer.Tags, image.Names...)
	}
	if err != nil {
		return nil, e.stopped(answer, len(plan.Goes), err)
	}
	return Deleted{answer}, nil
}

// stopped returns the error that ended a deletion, with how far it came.
func (e *exchange) stopped(went Deletion, of int, err error) error {
	if len(went.Manifests) == 0 {
		return err
	}
	text := fmt.Sprintf("%d of %d manifests were deleted, and the rest stays", len(went.Manifests), of)
	for _, known := range []error{core.ErrChanged, core.ErrManifestUnknown, core.ErrNameUnknown, core.ErrDenied, core.ErrUnauthorized} {
		if errors.Is(err, known) {
			return core.WithDetail(fmt.Errorf("%s: %w", text, err), went)
		}
	}
	if e.Log != nil {
		e.Log.Error("deletion stopped", "repository", e.repo, "deleted", len(went.Manifests), "of", of, "error", err)
	}
	stopped := &problem{http.StatusInternalServerError, "UNKNOWN", text + "; the registry's log says why", went}
	if errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrTooManyRequests) {
		stopped.status, stopped.code, stopped.message = http.StatusServiceUnavailable, "UNAVAILABLE", text+"; try again later"
	}
	return stopped
}

// partNames are the parts of an image in a plan.
var partNames = map[deletion.Part]string{deletion.Chosen: "chosen", deletion.Named: "named", deletion.Refers: "refers"}

func shownParts(images []*deletion.Image) []Part {
	parts := []Part{}
	for _, image := range images {
		parts = append(parts, Part{
			Digest: image.Digest, Part: partNames[image.Part], Of: image.Of, Platform: image.Platform, Attests: image.Attests,
			Attached: image.Attached, Tags: append([]string{}, image.Names...), MediaType: image.MediaType,
			ArtifactType: image.ArtifactType, Size: image.Size,
		})
	}
	return parts
}
