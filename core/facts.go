package core

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxConfig bounds the config that is read for a row, in bytes. Those of images have a few KiB.
const MaxConfig = 256 << 10

const (
	dockerConfigType = "application/vnd.docker.container.image.v1+json"
	// BuildKit adds statements about an image to its index as manifests of an unknown platform.
	attestation = "attestation-manifest"
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
		platform
	}
	if json.Unmarshal(config, &c) != nil {
		return f
	}
	f.Created = c.Created
	if name := platformName(c.platform); name != "" {
		f.Platforms = []PlatformRow{{Platform: name}}
	}
	return f
}

// platform is what a config or a descriptor says of a platform. Hostile lists in it are not read.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// maxIndex bounds the index whose platforms are read, in bytes. The largest in use have some 20 KB.
const maxIndex = 256 << 10

// platforms returns what an index names for which platform, of its first MaxPlatforms descriptors. It
// reads one after the other, without the lists and maps that a stranger can make large.
func platforms(index []byte) (rows []PlatformRow) {
	if len(index) > maxIndex {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(index))
	if !enter(decoder, "manifests") {
		return nil
	}
	for n := 0; n < MaxPlatforms && decoder.More(); n++ {
		var m struct {
			Digest      digest.Digest `json:"digest"`
			Platform    platform      `json:"platform"`
			Annotations struct {
				Type   string        `json:"vnd.docker.reference.type"`
				Digest digest.Digest `json:"vnd.docker.reference.digest"`
			} `json:"annotations"`
		}
		if decoder.Decode(&m) != nil {
			return rows
		}
		d, err := ParseDigest(string(m.Digest))
		if err != nil {
			continue
		}
		row := PlatformRow{Digest: d, Platform: platformName(m.Platform)}
		if m.Annotations.Type == attestation {
			row.Platform = ""
			if row.Attests, err = ParseDigest(string(m.Annotations.Digest)); err != nil {
				row.Attests = ""
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// enter goes to the first element of the array that is the member name of an object. It reports
// whether there is one.
func enter(decoder *json.Decoder, name string) bool {
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return false
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return false
		}
		if key == name {
			start, err := decoder.Token()
			return err == nil && start == json.Delim('[')
		}
		var skipped json.RawMessage
		if decoder.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}

// maxPlatform bounds the name of a platform, in bytes.
const maxPlatform = 60

func platformName(p platform) string {
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
