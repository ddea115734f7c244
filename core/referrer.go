package core

import "encoding/json"

// MaxReferrerSize bounds the entry of one manifest in a referrers list, in bytes of
// JSON. Clients read every entry of a page, and callers who may push decide how large
// they are; signatures and attestations need a few hundred bytes.
const MaxReferrerSize = 64 << 10

// maxTypeSize is the longest media type (RFC 6838, 4.2: two names of 127 bytes).
const maxTypeSize = 127 + 1 + 127

// Referrer returns desc as an entry of a referrers list, which has at most
// MaxReferrerSize bytes: without its annotations if they make it larger than that, and
// without an artifact type that is too long to be a media type. Both are still in the
// manifest.
func Referrer(desc Descriptor) Descriptor {
	if len(desc.ArtifactType) > maxTypeSize {
		desc.ArtifactType = ""
	}
	if len(desc.MediaType) > maxTypeSize {
		desc.MediaType = ""
	}
	// An entry describes the manifest and embeds none of it.
	desc.URLs, desc.Data, desc.Platform = nil, nil, nil
	size := 0
	for name, value := range desc.Annotations {
		size += len(name) + len(value)
	}
	if size > MaxReferrerSize {
		desc.Annotations = nil
		return desc
	}
	// Escapes make a text up to six times as long.
	if data, err := json.Marshal(desc); err != nil || len(data) > MaxReferrerSize {
		desc.Annotations = nil
	}
	return desc
}
