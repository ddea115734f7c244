package core_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

func TestAnEntryOfAReferrersListIsBounded(t *testing.T) {
	const mediaType, artifactType = "application/vnd.oci.image.manifest.v1+json", "application/vnd.example.signature"
	many := map[string]string{}
	for n := range 20_000 {
		many[strings.Repeat("k", 1+n%7)+string(rune('a'+n%26))+strings.Repeat("n", n/26)] = ""
	}
	for name, c := range map[string]struct {
		desc         core.Descriptor
		annotations  bool
		artifactType string
	}{
		"nothing said":               {core.Descriptor{}, false, ""},
		"a signature":                {core.Descriptor{ArtifactType: artifactType, Annotations: map[string]string{"a": "b"}}, true, artifactType},
		"just small enough":          {core.Descriptor{ArtifactType: artifactType, Annotations: map[string]string{"a": strings.Repeat("x", 65_000)}}, true, artifactType},
		"one large annotation":       {core.Descriptor{ArtifactType: artifactType, Annotations: map[string]string{"a": strings.Repeat("x", 4<<20)}}, false, artifactType},
		"one large name":             {core.Descriptor{ArtifactType: artifactType, Annotations: map[string]string{strings.Repeat("x", 4<<20): ""}}, false, artifactType},
		"many small ones":            {core.Descriptor{ArtifactType: artifactType, Annotations: many}, false, artifactType},
		"large by its escapes":       {core.Descriptor{ArtifactType: artifactType, Annotations: map[string]string{"a": strings.Repeat("\x00", 20_000)}}, false, artifactType},
		"an invalid type":            {core.Descriptor{ArtifactType: strings.Repeat("t", 4<<20), Annotations: map[string]string{"a": "b"}}, true, ""},
		"a type as long as they get": {core.Descriptor{ArtifactType: strings.Repeat("t", 255)}, false, strings.Repeat("t", 255)},
		"embedded data":              {core.Descriptor{ArtifactType: artifactType, Data: make([]byte, 1<<20), URLs: []string{strings.Repeat("u", 1<<20)}}, false, artifactType},
	} {
		t.Run(name, func(t *testing.T) {
			c.desc.MediaType, c.desc.Digest, c.desc.Size = mediaType, digest.FromString(name), 7
			got := core.Referrer(c.desc)
			data, err := json.Marshal(got)
			if err != nil || len(data) > core.MaxReferrerSize {
				t.Errorf("the entry has %d bytes, %v, want at most %d", len(data), err, core.MaxReferrerSize)
			}
			if got.MediaType != mediaType || got.Digest != c.desc.Digest || got.Size != 7 || got.ArtifactType != c.artifactType {
				t.Errorf("got %.200s, want what was said of the manifest", data)
			}
			if has := len(got.Annotations) > 0; has != c.annotations {
				t.Errorf("%d annotations, want some: %t", len(got.Annotations), c.annotations)
			}
		})
	}
}
