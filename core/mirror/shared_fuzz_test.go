package mirror

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// Content from other processes must have the requested digest.
func FuzzSharedManifest(f *testing.F) {
	f.Add([]byte("2026-11-25T12:00:00.5Z\napplication/vnd.oci.image.manifest.v1+json\n{\"schemaVersion\":2}"), string(digest.FromString(`{"schemaVersion":2}`)))
	f.Add([]byte("2026-11-25T12:00:00Z\n\n{}"), string(digest.FromString("{}")))
	f.Add([]byte{}, string(digest.FromString("")))
	f.Fuzz(func(t *testing.T, value []byte, asked string) {
		d := digest.Digest(asked)
		if d.Validate() != nil {
			return // keys are made from digests that were parsed
		}
		found, _, err := decodeManifest(value, d)
		if err == nil && (digest.FromBytes(found.Bytes) != d && d.Algorithm().FromBytes(found.Bytes) != d || found.Descriptor.Size != int64(len(found.Bytes))) {
			t.Errorf("took %q as %s", value, d)
		}
	})
}
