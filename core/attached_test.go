package core

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAttachedTags(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, tt := range []struct {
		d    string
		want []AttachedTag
	}{
		{"sha256:" + a, []AttachedTag{
			{"sha256-" + a + ".sig", AttachedSignature}, {"sha256-" + a + ".att", AttachedAttestation},
			{"sha256-" + a + ".sbom", AttachedSBOM}, {"sha256-" + a, AttachedReferrers}}},
		// spec.md, "Referrers Tag Schema": truncated to 64 characters.
		{"sha512:" + a + b, []AttachedTag{{"sha512-" + a, AttachedReferrers}}},
	} {
		if got := AttachedTags(digest.Digest(tt.d)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.d, got, tt.want)
		}
	}
}

func TestWhatATagAttaches(t *testing.T) {
	d, other := digest.FromString("image"), digest.FromString("signature")
	for _, tt := range []struct {
		name      string
		what      Attached
		held      digest.Digest
		mediaType string
		want      bool
	}{
		{"a signature", AttachedSignature, other, ocispec.MediaTypeImageManifest, true},
		{"a signature of several", AttachedSignature, other, ocispec.MediaTypeImageIndex, true},
		{"what is not held", AttachedSignature, "", "", false},
		{"the image itself", AttachedSignature, d, ocispec.MediaTypeImageManifest, false},
		{"a list of referrers", AttachedReferrers, other, ocispec.MediaTypeImageIndex, true},
		{"an image where a list belongs", AttachedReferrers, other, ocispec.MediaTypeImageManifest, false},
		{"the image itself where a list belongs", AttachedReferrers, d, ocispec.MediaTypeImageIndex, false},
	} {
		row := TagRow{Image: ImageRow{Digest: tt.held, Described: tt.held != "", ImageFacts: ImageFacts{MediaType: tt.mediaType}}}
		if got := (AttachedTag{What: tt.what}).Attaches(d, row); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
