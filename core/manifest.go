package core

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's manifests, which OCI's image-spec does not name.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	mediaTypeDockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSchema1JWS   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Links is what a manifest names.
type Links struct {
	// Blobs must be in the repository: config and layers, without the
	// non-distributable ones.
	Blobs []Descriptor
	// Manifests are an index's children. They may be missing (a sparse index).
	Manifests []Descriptor
	// Subject is what the manifest refers to, or nil.
	Subject *Descriptor
	// ArtifactType is what a referrers list says: the manifest's own, else its
	// config's media type (spec.md, "Pushing Manifests with Subject").
	ArtifactType string
	Annotations  map[string]string
}

// ParseManifest reads what a manifest of the given media type names. A media type
// that is neither an image manifest nor an index is an artifact of its own kind:
// its links are those of an OCI manifest where it has such members.
//
// Errors: ErrManifestInvalid when the bytes are not a JSON object, when they
// contradict mediaType, when a digest in them is malformed, or for Docker schema 1.
func ParseManifest(mediaType string, data []byte) (Links, error) {
	var doc struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        *Descriptor       `json:"config"`
		Layers        []Descriptor      `json:"layers"`
		Blobs         []Descriptor      `json:"blobs"` // the withdrawn OCI artifact manifest
		Manifests     []Descriptor      `json:"manifests"`
		Subject       *Descriptor       `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}
	if mediaType == mediaTypeDockerSchema1 || mediaType == mediaTypeDockerSchema1JWS {
		return Links{}, fmt.Errorf("%w: Docker schema 1 is not supported; push the image again with a current client", ErrManifestInvalid)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return Links{}, fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return Links{}, fmt.Errorf("%w: Content-Type is %q but the manifest says %q", ErrManifestInvalid, mediaType, clip(doc.MediaType))
	}
	if doc.SchemaVersion == 1 && doc.MediaType == "" && doc.Config == nil {
		return Links{}, fmt.Errorf("%w: Docker schema 1 is not supported; push the image again with a current client", ErrManifestInvalid)
	}
	links := Links{Subject: doc.Subject, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if doc.Config != nil {
		links.Blobs = append(links.Blobs, *doc.Config)
		if links.ArtifactType == "" {
			links.ArtifactType = doc.Config.MediaType
		}
	}
	for _, layer := range append(doc.Layers, doc.Blobs...) {
		if !nonDistributable(layer.MediaType) {
			links.Blobs = append(links.Blobs, layer)
		}
	}
	links.Manifests = doc.Manifests
	switch mediaType {
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest:
		if doc.Config == nil {
			return Links{}, fmt.Errorf("%w: an image manifest has a config", ErrManifestInvalid)
		}
		links.Manifests = nil
	case ocispec.MediaTypeImageIndex, MediaTypeDockerManifestList:
		links.Blobs = nil
		links.ArtifactType = doc.ArtifactType
	}
	return links, links.check()
}

// MediaTypeOf is the media type that a manifest names itself, or empty.
func MediaTypeOf(manifest []byte) string {
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(manifest, &doc) != nil {
		return ""
	}
	return doc.MediaType
}

// check validates every digest, because each becomes a path or a URL later.
func (l *Links) check() error {
	named := append(append([]Descriptor{}, l.Blobs...), l.Manifests...)
	if l.Subject != nil {
		named = append(named, *l.Subject)
	}
	for _, desc := range named {
		if _, err := ParseDigest(string(desc.Digest)); err != nil {
			// Not %w: the condition is the manifest's, and there is one.
			return fmt.Errorf("%w: %v", ErrManifestInvalid, err)
		}
		if desc.Size < 0 {
			return fmt.Errorf("%w: %s has a negative size", ErrManifestInvalid, desc.Digest)
		}
	}
	return nil
}

// SubjectDigest is the digest of the subject, or empty.
func (l *Links) SubjectDigest() digest.Digest {
	if l.Subject == nil {
		return ""
	}
	return l.Subject.Digest
}

// nonDistributable tells the layers that stay where their URLs say (image-spec,
// "Non-Distributable Layers", and Docker's foreign layers).
func nonDistributable(mediaType string) bool {
	return mediaType == mediaTypeDockerForeignLayer ||
		strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.v1.")
}

// ParseMediaType strips the parameters of a Content-Type, which registries should
// ignore (spec.md, "Pushing Manifests"). Errors: ErrManifestInvalid.
func ParseMediaType(contentType string) (string, error) {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(t, "/") || len(t) > 255 {
		return "", fmt.Errorf("%w: Content-Type %q is not a media type", ErrManifestInvalid, clip(contentType))
	}
	return t, nil
}
