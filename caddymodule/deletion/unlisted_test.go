package deletion_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// crowd pushes an index that names more than the catalog lists, and after that an image.
func (r *registry) crowd(last core.Descriptor, tag string) core.Descriptor {
	r.Helper()
	var named []core.Descriptor
	for i := range core.MaxNamed {
		named = append(named, core.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(tag, i)), Size: 100,
		})
	}
	return r.put(repo, ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: append(named, last)}, tag)
}

// The catalog does not list everything that a manifest names, and what it names all the same stays.
func TestPartsStayThatAManifestMayName(t *testing.T) {
	r := newRegistry(t)
	child := r.image(repo, nil, []string{"layer"})
	chosen := r.indexOf([]core.Descriptor{child}, "v1")
	before := r.plan(chosen)
	wantDigests(t, "goes alone", digestsOf(before.Goes), chosen, child)
	crowd := r.crowd(child, "crowd")

	// The plan was made before the push.
	if went, err := before.Delete(t.Context(), r); len(went) != 1 || !errors.Is(err, core.ErrChanged) {
		t.Errorf("deleted %d, %v", len(went), err)
	}
	chosen = r.indexOf([]core.Descriptor{child}, "v1")
	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen)
	wantDigests(t, "stays", digestsOf(p.Stays), child)
	if !p.AtMost {
		t.Error("the sum is said to be exact")
	}
	if went, err := p.Delete(t.Context(), r); len(went) != 1 || err != nil {
		t.Errorf("deleted %d, %v", len(went), err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: child.Digest}); err != nil {
		t.Errorf("the image that the other index names last: %v", err)
	}

	// When it goes itself, it keeps nothing.
	chosen = r.indexOf([]core.Descriptor{child}, "v1")
	p = r.plan(crowd, chosen)
	wantDigests(t, "both go", digestsOf(p.Goes), crowd, chosen, child)
	if went, err := p.Delete(t.Context(), r); len(went) != 3 || err != nil {
		t.Errorf("deleted %d, %v", len(went), err)
	}
	child = r.image(repo, nil, []string{"layer"})
	chosen = r.indexOf([]core.Descriptor{child}, "v1")
	wantDigests(t, "goes after it", digestsOf(r.plan(chosen).Goes), chosen, child)
}

// An index that is begun anew after the review may lack a manifest that names a part.
func TestPartsStayWhileTheIndexIsBuilt(t *testing.T) {
	r := newRegistry(t)
	child := r.image(repo, nil, []string{"layer"})
	chosen := r.indexOf([]core.Descriptor{child}, "v1")
	p := r.plan(chosen)
	r.index.anew.Store(true)
	if went, err := p.Delete(t.Context(), r); len(went) != 1 || !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("deleted %d, %v", len(went), err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: child.Digest}); err != nil {
		t.Errorf("the part: %v", err)
	}
}

// An index that refers to a chosen image goes before the chosen one that it has as a part, although
// that one may name anything.
func TestAPartThatNamesMuchGoesAfterItsIndex(t *testing.T) {
	r := newRegistry(t)
	image := r.image(repo, nil, []string{"layer"}, "v1")
	crowd := r.crowd(image, "crowd")
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{crowd}, Subject: &image, ArtifactType: "application/vnd.example.list"}
	refers := r.put(repo, index.MediaType, index)
	went, err := r.plan(image, crowd).Delete(t.Context(), r)
	r.must(err)
	if got, want := digestsOf(went), []digest.Digest{image.Digest, refers.Digest, crowd.Digest}; !slices.Equal(got, want) {
		t.Errorf("got the order %v, want %v", got, want)
	}
}
