package core

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// AttachedTag is a tag by which clients keep something that belongs to a manifest, where they know no
// referrers API. People do not choose it, and it says nothing about whether somebody needs what it
// names.
type AttachedTag struct {
	Name string
	What Attached
}

// Attached is what an AttachedTag names.
type Attached string

// The kinds of what belongs to a manifest: cosign's attachments (cosign, specs/SIGNATURE_SPEC.md, "Tag-based
// Discovery"), and the index of the manifests that have it as their subject (spec.md, "Referrers Tag
// Schema").
const (
	AttachedSignature   Attached = "signature"
	AttachedAttestation Attached = "attestation"
	AttachedSBOM        Attached = "sbom"
	AttachedReferrers   Attached = "referrers"
)

// maxAttachedHex is how many digits of a digest the Referrers Tag Schema has.
const maxAttachedHex = 64

// AttachedTags returns the tags of what is attached to the manifest d, each once. cosign's are longer
// than a tag may be, and left out, for a sha512.
func AttachedTags(d digest.Digest) (tags []AttachedTag) {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	for _, suffix := range []struct {
		name string
		what Attached
	}{{".sig", AttachedSignature}, {".att", AttachedAttestation}, {".sbom", AttachedSBOM}} {
		if name := algorithm + "-" + hex + suffix.name; validTag(name) {
			tags = append(tags, AttachedTag{name, suffix.what})
		}
	}
	return append(tags, AttachedTag{algorithm + "-" + hex[:min(len(hex), maxAttachedHex)], AttachedReferrers})
}

// Attaches reports whether the tag, which is one of AttachedTags of d, attaches what it names to d. It
// does not if that is not held, if it is d, or if an index is wanted and it is something else: some
// tools tag an image itself with its digest.
func (t AttachedTag) Attaches(d digest.Digest, row TagRow) bool {
	return row.Image.Digest != "" && row.Image.Digest != d &&
		(t.What != AttachedReferrers || row.Image.Described && kindOf(strings.ToLower(row.Image.MediaType)) == KindIndex)
}
