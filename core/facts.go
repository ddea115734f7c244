package core

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxConfig bounds the config that is read for a row, in bytes. Those of images have a few KiB.
const MaxConfig = 1 << 20

const (
	dockerConfigType = "application/vnd.docker.container.image.v1+json"
	// BuildKit adds statements about an image to its index as manifests of an unknown platform.
	referenceType   = "vnd.docker.reference.type"
	referenceDigest = "vnd.docker.reference.digest"
	attestation     = "attestation-manifest"
)

// Facts returns what a manifest says of itself. mediaType is the type under which it is served,
// and data its bytes, of which doc is the Document.
func Facts(doc *Document, mediaType string, data []byte) ImageFacts {
	f := ImageFacts{
		MediaType: mediaType, ArtifactType: doc.ArtifactType, Size: int64(len(data)),
		Layers: len(doc.Layers) + len(doc.Blobs), Subject: doc.SubjectDigest(), Annotations: shown(doc.Annotations),
	}
	counted := map[digest.Digest]struct{}{}
	for _, d := range doc.Required() {
		if _, twice := counted[d.Digest]; !twice && d.Size > 0 {
			f.Content += d.Size
		}
		counted[d.Digest] = struct{}{}
	}
	if doc.Config != nil {
		f.Config = doc.Config.Digest
	}
	if doc.Kind == KindIndex {
		f.Platforms = platforms(data)
	}
	return f
}

// Configurable reports whether the config says more: it is the config of an image, not too large
// to be read for a row. Then WithConfig adds it.
func (d *Document) Configurable() bool {
	return d.Kind == KindImage && d.Config != nil && d.Config.Size <= MaxConfig &&
		(d.Config.MediaType == ocispec.MediaTypeImageConfig || d.Config.MediaType == dockerConfigType)
}

// WithConfig returns the facts with what the image's config says. A config that is not JSON says
// nothing.
func (f ImageFacts) WithConfig(config []byte) ImageFacts {
	var c struct {
		Created time.Time `json:"created"`
		ocispec.Platform
	}
	if json.Unmarshal(config, &c) != nil {
		return f
	}
	f.Created = c.Created
	if name := platformName(c.Platform); name != "" {
		f.Platforms = []PlatformRow{{Platform: name}}
	}
	return f
}

// platforms returns what an index names for which platform.
func platforms(index []byte) (rows []PlatformRow) {
	var read struct {
		Manifests []struct {
			Digest      digest.Digest     `json:"digest"`
			Platform    ocispec.Platform  `json:"platform"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if json.Unmarshal(index, &read) != nil {
		return nil
	}
	for _, m := range read.Manifests {
		d, err := ParseDigest(string(m.Digest))
		if err != nil {
			continue
		}
		row := PlatformRow{Digest: d, Platform: platformName(m.Platform)}
		if m.Annotations[referenceType] == attestation {
			row.Platform = ""
			if row.Attests, err = ParseDigest(m.Annotations[referenceDigest]); err != nil {
				row.Attests = ""
			}
		}
		if rows = append(rows, row); len(rows) == MaxPlatforms {
			break
		}
	}
	return rows
}

// maxPlatform bounds the name of a platform, in bytes.
const maxPlatform = 60

func platformName(p ocispec.Platform) string {
	var parts []string
	for _, part := range []string{p.OS, p.Architecture, p.Variant} {
		if part != "" && part != "unknown" {
			parts = append(parts, part)
		}
	}
	return clip(strings.Join(parts, "/"), maxPlatform)
}

func shown(annotations map[string]string) map[string]string {
	var some map[string]string
	for _, key := range ShownAnnotations {
		if value := clip(annotations[key], MaxAnnotation); value != "" {
			if some == nil {
				some = map[string]string{}
			}
			some[key] = value
		}
	}
	return some
}

// clip shortens a text to n bytes at a letter's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "")
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "")
}
