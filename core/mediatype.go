package core

import (
	"fmt"
	"mime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of manifests that OCI's image-spec does not name.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSchema1JWS   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	// Two types that were withdrawn, and are still in registries. Both have blobs in place of
	// layers.
	mediaTypeArtifact     = "application/vnd.oci.artifact.manifest.v1+json"
	mediaTypeORASArtifact = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// MediaTypeUnknown is the type under which content is served whose own type is unknown or not safe
// to serve.
const MediaTypeUnknown = "application/octet-stream"

// maxMediaType bounds a media type in bytes (RFC 6838, 4.2: 127 for each half).
const maxMediaType = 255

// ParseMediaType returns the media type of a Content-Type in lower case, without its parameters,
// which registries should ignore (spec.md, "Pushing Manifests"). Errors: ErrManifestInvalid.
func ParseMediaType(contentType string) (string, error) {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(t, "/") || len(t) > maxMediaType {
		return "", fmt.Errorf("%w: Content-Type %q is not a media type; send that of the manifest, for example %s", ErrManifestInvalid, Clip(contentType), ocispec.MediaTypeImageManifest)
	}
	return t, nil
}

// IsManifestType reports whether manifests may be pushed and served as mediaType: "application/",
// a name as of RFC 6838, 4.2, in lower case, and "+json" at its end. So a browser treats a
// stranger's manifest as JSON (MIME Sniffing, 4.6, "JSON MIME type") and shows it, whatever it
// contains. A name that has one of activeWords as a word is refused although it ends so, because
// some programs look only for the word.
func IsManifestType(mediaType string) bool {
	switch kindOf(mediaType) { // nearly every request has one of these, so they come before the scan
	case KindImage, KindIndex, KindArtifact:
		return true
	}
	name, ok := strings.CutPrefix(mediaType, "application/")
	if !ok || len(mediaType) > maxMediaType || !strings.HasSuffix(name, "+json") || !lowerAlnum(name[0]) {
		return false
	}
	for i := range len(name) {
		if !lowerAlnum(name[i]) && strings.IndexByte("!#$&-^_.+", name[i]) < 0 {
			return false
		}
	}
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r > 'z' || !lowerAlnum(byte(r)) }) {
		if activeWords[word] {
			return false
		}
	}
	return true
}

// activeWords are the parts of media types that browsers run, or that can make them run something.
var activeWords = map[string]bool{
	"html": true, "xhtml": true, "xml": true, "xslt": true, "svg": true, "mathml": true, "mhtml": true,
	"script": true, "javascript": true, "ecmascript": true, "jscript": true, "livescript": true, "vbscript": true,
}

// ServableType returns mediaType if a manifest may be served as it, else MediaTypeUnknown.
func ServableType(mediaType string) string {
	if IsManifestType(mediaType) {
		return mediaType
	}
	return MediaTypeUnknown
}

// kindOf returns the kind that a document of the given type must have, or KindOther if the type
// says nothing about it. mediaType is in lower case.
func kindOf(mediaType string) Kind {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest:
		return KindImage
	case ocispec.MediaTypeImageIndex, MediaTypeDockerManifestList:
		return KindIndex
	case mediaTypeArtifact, mediaTypeORASArtifact:
		return KindArtifact
	case mediaTypeDockerSchema1, mediaTypeDockerSchema1JWS:
		return KindSchema1
	}
	return KindOther
}

// nonDistributable reports whether layers of the type stay where their URLs say (image-spec,
// "Non-Distributable Layers", and Docker's foreign layers), with any compression: containerd
// accepts every type that begins so.
func nonDistributable(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	return strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.") ||
		strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.")
}
