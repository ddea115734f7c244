package core

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// maxAnnotations bounds the annotations that are read of one manifest or descriptor, in bytes of
// JSON. They are only for referrers lists (see Referrer), and may be twice as long here: a letter
// that is not ASCII has two or three bytes and is often written with six.
const maxAnnotations = 2 * MaxReferrerSize

// Inspect parses a manifest in one pass, in memory that is bounded by MaxDescriptors and
// maxAnnotations and not by the document: its result needs less than 5 MiB beside the texts in it.
// It notes everything that a push must not have and reads everything that can be served; see
// Document.
//
// Members are matched as encoding/json does it: exactly, or else without case. So no client reads
// more members from the document than this function sees.
//
// Errors: ErrManifestInvalid if data is not one JSON object, at most 10,000 levels deep.
func Inspect(data []byte) (Document, error) {
	return inspect(data, false)
}

// InspectReferrers is Inspect for a page of a referrers list: the descriptors in Manifests have
// ArtifactType and Annotations, too. Annotations of a descriptor that has more than
// maxAnnotations, and those beyond maxListedAnnotations in all, are left out.
func InspectReferrers(data []byte) (Document, error) {
	return inspect(data, true)
}

// maxListedAnnotations bounds the annotations of a page of referrers in number: a map needs some
// hundred bytes for each.
const maxListedAnnotations = 50_000

func inspect(data []byte, listed bool) (Document, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return Document{}, fmt.Errorf("%w: it begins with a byte order mark; remove it", ErrManifestInvalid)
	case !json.Valid(data):
		// Unmarshal decodes nothing of it, and has the sentence that Valid does not return.
		return Document{}, fmt.Errorf("%w: it is not JSON: %w", ErrManifestInvalid, json.Unmarshal(data, new(any)))
	}
	in := inspector{cursor: newCursor(data), listed: listed}
	if in.next() != '{' {
		return Document{}, fmt.Errorf("%w: it must be a JSON object", ErrManifestInvalid)
	}
	in.document()
	return in.Document, nil
}

// inspector reads one document.
type inspector struct {
	*cursor
	Document
	listed      bool
	descriptors int
	annotated   int    // annotations that were kept
	decoded     []byte // reused by base64
}

// malformed notes the first reason why the document may not be pushed.
func (in *inspector) malformed(format string, args ...any) {
	if in.Malformed == nil {
		in.Malformed = fmt.Errorf(format, args...)
	}
}

func (in *inspector) ambiguous(format string, args ...any) {
	if in.Ambiguous == nil {
		in.Ambiguous = fmt.Errorf(format, args...)
	}
}

// Members that decide the kind of a document, and those of a descriptor.
var (
	documentMembers = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs",
		"manifests", "subject", "annotations", "fsLayers"}
	descriptorMembers = []string{"mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"}
)

// members reads an object, and calls each with the members in known. It is for objects in which
// clients read some members: a duplicate of one, also in another case, is ambiguous.
func (in *inspector) members(where string, known []string, each func(name string)) {
	var seen uint32
	in.object(func(written []byte) {
		i, exact := match(written, known)
		switch {
		case i < 0:
			in.skip()
			return
		case seen&(1<<i) != 0 && in.Ambiguous != nil:
			in.skip()
			return
		case seen&(1<<i) != 0:
			in.ambiguous("%s has the member %q twice; remove one", where, known[i])
			in.skip()
			return
		case !exact:
			in.malformed("%s has the member %q, which must be written %q", where, Clip(string(written)), known[i])
		}
		seen |= 1 << i
		each(known[i])
	})
}

// match returns the member as which encoding/json would read name.
func match(name []byte, known []string) (i int, exact bool) {
	for i, k := range known {
		if string(name) == k {
			return i, true
		}
	}
	for i, k := range known {
		// A letter may be one of up to three bytes that is equal without case (K and the Kelvin sign).
		if len(name) >= len(k) && len(name) <= 3*len(k) && bytes.EqualFold(name, []byte(k)) {
			return i, false
		}
	}
	return -1, false
}

func (in *inspector) document() {
	var schemaVersion int64
	own := false // artifactType is the document's
	in.members("the manifest", documentMembers, func(name string) {
		switch name {
		case "schemaVersion":
			schemaVersion = max(0, in.whole(name))
		case "mediaType":
			in.MediaType = in.string(name)
		case "artifactType":
			in.ArtifactType = in.string(name)
			own = in.ArtifactType != ""
		case "config":
			in.kinds |= 1 << KindImage
			in.Config = in.one(name)
		case "layers":
			in.kinds |= 1 << KindImage
			in.Layers = in.list(name)
		case "blobs":
			in.kinds |= 1 << KindArtifact
			in.Blobs = in.list(name)
		case "manifests":
			in.kinds |= 1 << KindIndex
			in.Manifests = in.list(name)
		case "subject":
			in.Subject = in.one(name)
		case "annotations":
			in.Annotations = in.annotations("the manifest", true)
		case "fsLayers":
			in.kinds |= 1 << KindSchema1
			in.skip()
		}
	})
	in.decide(schemaVersion)
	if in.descriptors > MaxDescriptors {
		in.Config, in.Layers, in.Blobs, in.Manifests, in.Subject = nil, nil, nil, nil, nil
		in.Malformed = fmt.Errorf("it has more than %d descriptors; split it, for example into several manifests under an index", MaxDescriptors)
	}
	if !own && in.Config != nil && in.Kind == KindImage {
		in.ArtifactType = in.Config.MediaType
	}
	if name := in.repeatedName(); name != nil {
		in.malformed("an object in it has the member %q twice; remove one", Clip(string(name)))
	}
	if in.crowded {
		in.malformed("it has an object of more than %d members", maxMembers)
	}
	if !utf8.Valid(in.data) {
		in.malformed("it is not UTF-8, as JSON must be (RFC 8259, 8.1)")
	}
}

// decide sets the kind from the members that were seen.
func (in *inspector) decide(schemaVersion int64) {
	// Clients do not recognize the artifact manifest by its members: in an image or an index,
	// blobs is like any other unknown member.
	if in.kinds != 1<<KindArtifact {
		in.kinds &^= 1 << KindArtifact
	}
	for _, k := range []Kind{KindArtifact, KindSchema1, KindIndex, KindImage} {
		if in.kinds.has(k) {
			in.Kind = k
		}
	}
	if in.kinds == 0 && in.MediaType == "" && schemaVersion == 1 {
		in.Kind, in.kinds = KindSchema1, 1<<KindSchema1
	}
	if bits.OnesCount8(uint8(in.kinds)) < 2 {
		return
	}
	if k := kindOf(in.MediaType); k != KindOther && in.kinds.has(k) {
		in.Kind = k
	}
	in.ambiguous("it has members of two kinds of manifests; only an index may have manifests, only an image manifest may have config and layers")
}

// one reads a descriptor; null counts as absent.
func (in *inspector) one(where string) *Descriptor {
	if in.next() == 'n' {
		in.skip()
		return nil
	}
	return in.descriptor(where)
}

// list reads an array of descriptors.
func (in *inspector) list(where string) []Descriptor {
	switch in.next() {
	case 'n': // null: Go writes an empty list so
		in.skip()
		return nil
	case '[':
	default:
		in.malformed("%s must be a list of descriptors", where)
		in.skip()
		return nil
	}
	var found []Descriptor
	in.array(func() {
		if desc := in.descriptor(where); desc != nil {
			found = append(found, *desc)
		}
	})
	return found
}

// descriptor reads a descriptor, or returns nil if it names no content.
func (in *inspector) descriptor(where string) *Descriptor {
	in.descriptors++
	if in.descriptors > MaxDescriptors {
		in.skip() // the document will have no descriptors
		return nil
	}
	if in.next() != '{' {
		in.malformed("%s must be a descriptor: an object with mediaType, digest and size", where)
		in.skip()
		return nil
	}
	desc := Descriptor{Size: -1}
	in.members("a descriptor in "+where, descriptorMembers, func(name string) {
		switch name {
		case "mediaType":
			desc.MediaType = in.string(name)
		case "artifactType":
			if t := in.string(name); in.listed {
				desc.ArtifactType = t
			}
		case "digest":
			d, err := ParseDigest(in.string(name))
			if err != nil {
				in.malformed("%s: %v", where, err)
			}
			desc.Digest = d
		case "size":
			if desc.Size = in.whole(name); desc.Size < 0 {
				in.malformed("a descriptor in %s has a size that is not a whole number of bytes, or negative", where)
			}
		case "annotations":
			desc.Annotations = in.annotations("a descriptor in "+where, in.listed && where == "manifests")
		default:
			in.descriptive(where, name)
		}
	})
	if desc.Digest == "" {
		in.malformed("a descriptor in %s has no digest", where)
		return nil
	}
	if desc.Size < 0 {
		in.malformed("a descriptor in %s has no size", where)
	}
	return &desc
}

// descriptive checks a member of a descriptor that is not used here, but for which clients would
// refuse the whole manifest.
func (in *inspector) descriptive(where, name string) {
	good := false
	switch b := in.next(); {
	case b == 'n':
		in.skip()
		good = true
	case name == "urls":
		good = in.texts()
	case name == "data" && b == '"':
		text := in.unquoted()
		var err error
		in.decoded, err = base64.StdEncoding.AppendDecode(in.decoded[:0], text)
		good = err == nil
	case name == "platform" && b == '{':
		good = in.platform(where)
	default:
		in.skip()
	}
	if !good {
		in.malformed("a descriptor in %s has a member %q of the wrong type", where, name)
	}
}

var platformMembers = []string{"architecture", "os", "os.version", "os.features", "variant"}

// platform reads the object that names an image's platform.
func (in *inspector) platform(where string) (good bool) {
	good = true
	in.members("a platform in "+where, platformMembers, func(name string) {
		switch b := in.next(); {
		case b == 'n':
			in.skip()
		case name == "os.features":
			good = in.texts() && good
		default:
			good = good && b == '"'
			in.skip()
		}
	})
	return good
}

// texts skips a value and reports whether it is a list of texts.
func (in *inspector) texts() (good bool) {
	if in.next() != '[' {
		in.skip()
		return false
	}
	good = true
	in.array(func() {
		good = good && in.next() == '"'
		in.skip()
	})
	return good
}

// string reads a text; another value is malformed, and null counts as absent.
func (in *inspector) string(name string) string {
	switch in.next() {
	case '"':
		return string(in.unquoted())
	case 'n':
	default:
		in.malformed("%s must be a text", name)
	}
	in.skip()
	return ""
}

// whole reads a number that is an int64 and written so, or returns -1 with the reason noted:
// 50.0 and 5e1 are refused, as Go's clients refuse them.
func (in *inspector) whole(name string) int64 {
	if b := in.next(); b != '-' && (b < '0' || b > '9') {
		in.malformed("%s must be a whole number", name)
		in.skip()
		return -1
	}
	n, err := strconv.ParseInt(string(in.token()), 10, 64)
	if err != nil {
		in.malformed("%s must be a whole number, written with digits alone and smaller than 2^63", name)
		return -1
	}
	return n
}

// annotations reads an object of texts; other values are left out.
func (in *inspector) annotations(where string, keep bool) map[string]string {
	switch in.next() {
	case 'n':
		in.skip()
		return nil
	case '{':
	default:
		in.malformed("annotations of %s must be an object of texts", where)
		in.skip()
		return nil
	}
	begin := in.at
	var found map[string]string
	in.object(func(written []byte) {
		if in.next() != '"' {
			in.malformed("annotations of %s must be texts; %q is not", where, Clip(string(written)))
			in.skip()
			return
		}
		if !keep || in.at-begin > maxAnnotations || in.annotated >= maxListedAnnotations {
			in.skip()
			return
		}
		if found == nil {
			found = map[string]string{}
		}
		name := string(written)
		found[name] = string(in.unquoted())
		in.annotated++
	})
	if in.at-begin > maxAnnotations {
		return nil
	}
	return found
}
