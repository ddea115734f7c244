package core_test

import (
	"errors"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// FuzzParseManifest holds what the store relies on: bytes from outside never panic,
// and what is accepted names only digests that are safe to make paths of.
func FuzzParseManifest(f *testing.F) {
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, mediaType := range []string{
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, core.MediaTypeDockerManifest, core.MediaTypeDockerManifestList,
		"application/vnd.oci.artifact.manifest.v1+json", "",
	} {
		for _, body := range []string{
			"", "null", "[]", "{}", `{"schemaVersion":1}`, `{"config":null,"layers":null}`,
			`{"config":{"digest":"` + d + `","size":2},"layers":[{"digest":"` + d + `","size":-1}]}`,
			`{"config":{"digest":"` + d + `"},"subject":{"digest":"sha256:../x"}}`,
			`{"manifests":[{"digest":"` + d + `"}],"blobs":[{"digest":""}],"mediaType":"` + mediaType + `"}`,
			`{"manifests":[{"digest":"sha512:` + d + `"}],"artifactType":"a/b","annotations":{"a":"b"}}`,
		} {
			f.Add(mediaType, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		links, err := core.ParseManifest(mediaType, data)
		if err != nil {
			if !errors.Is(err, core.ErrManifestInvalid) {
				t.Errorf("got error %v, want %q", err, core.ErrManifestInvalid)
			}
			return
		}
		named := slices.Concat(links.Blobs, links.Manifests)
		if links.Subject != nil {
			named = append(named, *links.Subject)
		}
		for _, desc := range named {
			if _, err := core.ParseDigest(string(desc.Digest)); err != nil || desc.Size < 0 {
				t.Errorf("accepted %q with size %d: %v", desc.Digest, desc.Size, err)
			}
		}
		if links.SubjectDigest() != "" && links.Subject == nil {
			t.Errorf("subject %s of a manifest without one", links.SubjectDigest())
		}
	})
}
