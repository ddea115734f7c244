package deletion_test

import (
	"errors"
	"fmt"
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
	if done, err := before.Delete(t.Context(), r); done != 1 || !errors.Is(err, core.ErrChanged) {
		t.Errorf("deleted %d, %v", done, err)
	}
	chosen = r.indexOf([]core.Descriptor{child}, "v1")
	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen)
	wantDigests(t, "stays", digestsOf(p.Stays), child)
	if !p.AtMost {
		t.Error("the sum is said to be exact")
	}
	if done, err := p.Delete(t.Context(), r); done != 1 || err != nil {
		t.Errorf("deleted %d, %v", done, err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: child.Digest}); err != nil {
		t.Errorf("the image that the other index names last: %v", err)
	}

	// When it goes itself, it keeps nothing.
	chosen = r.indexOf([]core.Descriptor{child}, "v1")
	p = r.plan(crowd, chosen)
	wantDigests(t, "both go", digestsOf(p.Goes), crowd, chosen, child)
	if done, err := p.Delete(t.Context(), r); done != 3 || err != nil {
		t.Errorf("deleted %d, %v", done, err)
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
	if done, err := p.Delete(t.Context(), r); done != 1 || !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("deleted %d, %v", done, err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: child.Digest}); err != nil {
		t.Errorf("the part: %v", err)
	}
}
