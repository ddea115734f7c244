package deletion_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/deletion"
	"github.com/eblume/caddy-registry/core"
)

// asTag is a digest as clients write it into a tag.
func asTag(d core.Descriptor) string { return strings.Replace(string(d.Digest), ":", "-", 1) }

// listed pushes an index of the manifests that refer to subject, as a client does that knows no
// referrers API.
func (r *registry) listed(subject core.Descriptor, referrers ...core.Descriptor) core.Descriptor {
	r.Helper()
	return r.put(repo, ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: referrers}, asTag(subject))
}

// A manifest that a tag attaches to an image goes with it, with that tag.
func TestWhatTagsAttachGoes(t *testing.T) {
	r := newRegistry(t)
	amd, shared := r.image(repo, nil, []string{"base", "amd64"}), r.image(repo, nil, []string{"base", "arm64"})
	other := r.indexOf([]core.Descriptor{shared}, "other")
	chosen := r.indexOf([]core.Descriptor{amd, shared}, "v1")
	signature := r.image(repo, nil, []string{"signature"}, asTag(chosen)+".sig")
	attestation := r.image(repo, nil, []string{"attestation of amd64"}, asTag(amd)+".att")
	sbom := r.image(repo, nil, []string{"base", "sbom"}, asTag(chosen)+".sbom")
	ofSignature := r.image(repo, nil, []string{"signature of the SBOM"}, asTag(sbom)+".sig")
	referrer := r.image(repo, &chosen, []string{"referrer"})
	list := r.listed(chosen, referrer)

	ofShared := r.image(repo, nil, []string{"signature of arm64"}, asTag(shared)+".sig")
	named := r.image(repo, nil, []string{"attestation with a name"}, asTag(chosen)+".att", "attestation")
	r.collect()
	before, held := r.objects()
	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen, amd, signature, attestation, sbom, ofSignature, referrer, list)
	wantDigests(t, "stays", digestsOf(p.Stays), shared, ofShared, named)
	want := []string{"v1", asTag(chosen) + ".sig", asTag(amd) + ".att", asTag(chosen) + ".sbom", asTag(sbom) + ".sig", asTag(chosen)}
	if got := p.Tags(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("got the tags %q, want %q", got, want)
	}
	attached := map[digest.Digest]core.Attached{
		signature.Digest: core.AttachedSignature, attestation.Digest: core.AttachedAttestation, sbom.Digest: core.AttachedSBOM,
		ofSignature.Digest: core.AttachedSignature, list.Digest: core.AttachedReferrers,
	}
	for _, image := range p.Goes {
		if what := attached[image.Digest]; image.Attached != what || what != "" && image.Part != deletion.Refers {
			t.Errorf("%s: got %q, part %d, want %q", image.Digest, image.Attached, image.Part, what)
		}
	}
	if _, err := p.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.collect()
	after, left := r.objects()
	if before-after != p.Bytes {
		t.Errorf("%d bytes are gone, the plan said %d", before-after, p.Bytes)
	}
	if got, want := len(held)-len(left), len(p.Goes)+len(p.Tags()); got != want {
		t.Errorf("%d manifests and tags are gone, the plan said %d", got, want)
	}
	for _, d := range []core.Descriptor{other, shared, ofShared, named} {
		if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: d.Digest}); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
}

// A tag that looks like one that attaches something may be of a person after all.
func TestTagsThatAttachNothing(t *testing.T) {
	r := newRegistry(t)
	itself := r.image(repo, nil, []string{"tagged with its own digest"})
	r.image(repo, nil, []string{"tagged with its own digest"}, asTag(itself)+".sig")
	chosen := r.indexOf([]core.Descriptor{itself}, "v1")
	image := r.image(repo, nil, []string{"no index"}, asTag(chosen))
	whole := r.indexOf([]core.Descriptor{chosen}, asTag(chosen)+".sig")
	stranger := r.image(repo, nil, []string{"of something else"}, "sha256-"+strings.Repeat("0", 64)+".sig")
	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen)
	wantDigests(t, "stays", digestsOf(p.Stays), itself)
	if !slices.Equal(p.Within, []digest.Digest{whole.Digest}) {
		t.Errorf("got within %v", p.Within)
	}
	if _, err := p.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, d := range []core.Descriptor{itself, image, whole, stranger} {
		if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: d.Digest}); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
}

// Wherever a deletion ends, no image that stays lacks what tags attach to it.
func TestWhatTagsAttachGoesAfterItsImage(t *testing.T) {
	r := newRegistry(t)
	r.stops(func() []core.Descriptor {
		amd := r.image(repo, nil, []string{"amd64"})
		inner := r.indexOf([]core.Descriptor{r.indexOf([]core.Descriptor{amd})})
		chosen := r.indexOf([]core.Descriptor{amd, inner}, "v1")
		r.image(repo, nil, []string{"signature of amd64"}, asTag(amd)+".sig")
		r.listed(chosen, r.image(repo, &chosen, []string{"one"}), r.image(repo, &chosen, []string{"two"}))
		return []core.Descriptor{chosen}
	}, func(_ []digest.Digest, cut relation) { t.Errorf("%+v was cut", cut) })
}
