package core

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxDescriptors bounds the descriptors in one manifest: config, layers, blobs, manifests and
// subject together. The largest in use have some hundred (a layer each for the packages of an
// image, an index of many platforms); a document of MaxManifestSize has room for 1.4 million, at
// 120 bytes of memory each.
const MaxDescriptors = 10_000

// Kind is the kind of a document, by the members that it has.
type Kind int

const (
	KindOther    Kind = iota // none of the members below: an artifact of another kind
	KindImage                // config or layers
	KindIndex                // manifests
	KindArtifact             // blobs: the withdrawn artifact manifest of OCI, and that of ORAS
	KindSchema1              // fsLayers, or schemaVersion 1: Docker schema 1
)

func (k Kind) String() string {
	return [...]string{"an artifact of its own kind", "an image manifest", "an index", "an artifact manifest", "a Docker schema 1 manifest"}[k]
}

// mediaType returns the type of a document of kind k that does not name one, or "".
func (k Kind) mediaType() string {
	return [...]string{KindImage: ocispec.MediaTypeImageManifest, KindIndex: ocispec.MediaTypeImageIndex, KindSchema1: ""}[k]
}

// Document is a parsed manifest. Inspect makes one.
//
// It has the members that could be read, because content that is already held or comes from an
// upstream is served even if something is wrong with it. Ambiguous and Malformed say what a push
// must not have; CheckPush looks at them.
type Document struct {
	// Kind is decided by the members, never by the type that the document or a client claims. For
	// an ambiguous document it is the kind that its mediaType names, if it has the members of
	// that.
	Kind Kind
	// MediaType is the member mediaType, as it is written; empty if there is none.
	MediaType string
	// ArtifactType is the type in a referrers list: the manifest's own, else its config's media
	// type (spec.md, "Pushing Manifests with Subject").
	ArtifactType string
	// Config is nil if there is none or it cannot be read.
	Config *Descriptor
	// Layers, Blobs and Manifests have the descriptors that could be read: media type, digest
	// and size, which is -1 if it could not. All of them, Config and Subject are empty if
	// there are more than MaxDescriptors.
	Layers, Blobs, Manifests []Descriptor
	// Subject is the manifest to which this one refers, or nil.
	Subject *Descriptor
	// Annotations are the annotations whose values are strings; nil if they are too large for a
	// referrers list.
	Annotations map[string]string
	// Ambiguous says why the document can be read in two ways (GHSA-mc8v-mgrf-8f4m), or is nil:
	// it has members of two kinds, or a duplicate of a member that decides what it names. Two
	// clients may see two images in it, so mirrors must not pass it on either.
	Ambiguous error
	// Malformed is any other reason to refuse a push, or nil. The members concerned are left out.
	Malformed error
	// kinds has the kinds whose members the document has.
	kinds kinds
}

// kinds is a set of Kind.
type kinds uint8

func (s kinds) has(k Kind) bool { return s&(1<<k) != 0 }

// SubjectDigest returns the digest of the subject, or "".
func (d *Document) SubjectDigest() digest.Digest {
	if d.Subject == nil {
		return ""
	}
	return d.Subject.Digest
}

// Required returns the content that must be in a repository before the manifest is pushed there:
// config and layers, or blobs, without the layers that are not distributable. Manifests that an
// index names may be missing (a sparse index). The package graph answers which content must stay
// as long as the manifest.
func (d *Document) Required() []Descriptor {
	var required []Descriptor
	if d.Kind != KindImage && d.Kind != KindArtifact {
		return nil
	}
	if d.Config != nil {
		required = append(required, *d.Config)
	}
	for _, layers := range [][]Descriptor{d.Layers, d.Blobs} {
		for _, layer := range layers {
			if !nonDistributable(layer.MediaType) {
				required = append(required, layer)
			}
		}
	}
	return required
}

const schema1Sentence = "a manifest of Docker schema 1 is not supported; push the image again with a current client"

// CheckPush decides whether the document may be pushed as contentType, which is as ParseMediaType
// returns it, or empty. These rules are for pushes and imports: held manifests may have been
// pushed under other rules and are still served. Errors: ErrManifestInvalid, with a remedy.
func (d *Document) CheckPush(contentType string) error {
	var problem error
	switch wanted := kindOf(contentType); {
	case wanted == KindSchema1 || d.Kind == KindSchema1:
		problem = errors.New(schema1Sentence)
	case !IsManifestType(contentType):
		problem = fmt.Errorf("the Content-Type %q is not a media type of manifests, application/…+json; send %s", Clip(contentType), d.expected())
	case d.Ambiguous != nil:
		problem = d.Ambiguous
	case d.Malformed != nil:
		problem = d.Malformed
	case d.MediaType != "" && !strings.EqualFold(d.MediaType, contentType):
		problem = fmt.Errorf("the Content-Type is %q but the member mediaType is %q; make them agree", Clip(contentType), Clip(d.MediaType))
	case wanted == KindIndex && d.Kind == KindOther:
		problem = errors.New("an index must have the member manifests, which may be an empty list")
	case wanted == KindImage && d.Kind == KindOther, wanted == KindImage && d.Kind == KindImage && d.Config == nil:
		problem = errors.New("an image manifest must have a config")
	case wanted == KindArtifact && d.Kind == KindOther: // blobs is optional
	case wanted != KindOther && wanted != d.Kind:
		problem = fmt.Errorf("the Content-Type %q is the type of %s but the document is %s; send the type of the document", Clip(contentType), wanted, d.Kind)
	}
	if problem == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrManifestInvalid, problem)
}

// expected returns the Content-Type that a push of the document should have.
func (d *Document) expected() string {
	if t := d.ServedType(""); t != MediaTypeUnknown {
		return t
	}
	return "the media type of its format"
}

// ServedType returns the media type under which the document is served: the stated one (of its
// record, or an upstream's) unless that is not a type of manifests or contradicts the document;
// else its own, with the same conditions; else that of its shape; else MediaTypeUnknown.
func (d *Document) ServedType(stated string) string {
	for _, t := range []string{stated, d.MediaType} {
		if t = strings.ToLower(t); IsManifestType(t) && d.agrees(t) {
			return t
		}
	}
	if t := d.Kind.mediaType(); t != "" {
		return t
	}
	return MediaTypeUnknown
}

// agrees reports whether mediaType does not contradict the document's member mediaType, if that is
// a type of manifests, nor its shape. A document without the members of any kind contradicts no type.
func (d *Document) agrees(mediaType string) bool {
	if own := strings.ToLower(d.MediaType); own != mediaType && IsManifestType(own) {
		return false
	}
	wanted := kindOf(mediaType)
	return wanted == KindOther || d.kinds == 0 || d.kinds.has(wanted)
}
