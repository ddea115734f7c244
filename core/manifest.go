package core

import "github.com/opencontainers/go-digest"

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

// ParseManifest reads what a manifest names that may be pushed with the given media type.
//
// Errors: ErrManifestInvalid when it may not; see Document.CheckPush.
func ParseManifest(mediaType string, data []byte) (Links, error) {
	doc, err := InspectReferrers(data)
	if err == nil {
		err = doc.CheckPush(mediaType)
	}
	if err != nil {
		return Links{}, err
	}
	return Links{
		Blobs: doc.Required(), Manifests: doc.Manifests, Subject: doc.Subject,
		ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}, nil
}

// SubjectDigest is the digest of the subject, or empty.
func (l *Links) SubjectDigest() digest.Digest {
	if l.Subject == nil {
		return ""
	}
	return l.Subject.Digest
}
