package core_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// read is how a client in Go reads a manifest of any kind.
type read struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *core.Descriptor  `json:"config"`
	Layers        []core.Descriptor `json:"layers"`
	Blobs         []core.Descriptor `json:"blobs"`
	Manifests     []core.Descriptor `json:"manifests"`
	Subject       *core.Descriptor  `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// FuzzInspect checks what the store relies on: no input panics, a document that may be pushed names
// only digests that are safe in paths, and encoding/json reads it in the same way.
func FuzzInspect(f *testing.F) {
	for _, mediaType := range []string{
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, core.MediaTypeDockerManifest, core.MediaTypeDockerManifestList,
		"application/vnd.oci.artifact.manifest.v1+json", own, "text/html", "",
	} {
		for _, body := range []string{
			"", "null", "[]", "{}", `{"schemaVersion":1}`, `{"config":null,"layers":null}`, "\xef\xbb\xbf{}", `{}{}`,
			`{"config":DESC,"layers":[DESC,{"digest":"` + empty + `","size":-1}]}`,
			`{"config":DESC,"subject":{"digest":"sha256:../x"}}`,
			`{"manifests":[DESC],"blobs":[{"digest":""}],"mediaType":"` + mediaType + `"}`,
			`{"manifests":[{"digest":"sha512:` + empty + `"}],"artifactType":"a/b","annotations":{"a":"b"}}`,
			`{"config":DESC,"Layers":[],"layers":[DESC],"layer\u0073":[]}`,
			`{"config":DESC,"annotations":{"a":"\ud800\ud83d\ude00\n","a":1}}`,
			`{"config":{"digest":"` + empty + `","size":50.0,"data":"e30","urls":["x",null],"platform":{"os":"a","os.features":[1]}}}`,
		} {
			f.Add(mediaType, document(body))
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		doc, err := core.Inspect(data)
		if err != nil {
			var object map[string]json.RawMessage
			if !errors.Is(err, core.ErrManifestInvalid) || json.Unmarshal(data, &object) == nil && object != nil {
				t.Errorf("got error %v, want %q and only for what is not a JSON object", err, core.ErrManifestInvalid)
			}
			return
		}
		if served := doc.ServedType(mediaType); served != core.ServableType(served) {
			t.Errorf("would be served as %q", served)
		}
		named := slices.Concat(doc.Layers, doc.Blobs, doc.Manifests)
		for _, desc := range []*core.Descriptor{doc.Config, doc.Subject} {
			if desc != nil {
				named = append(named, *desc)
			}
		}
		for _, desc := range named {
			if _, err := core.ParseDigest(string(desc.Digest)); err != nil || desc.Size < -1 {
				t.Errorf("has read %q with size %d: %v", desc.Digest, desc.Size, err)
			}
		}
		if err := doc.CheckPush(mediaType); err != nil {
			if !errors.Is(err, core.ErrManifestInvalid) {
				t.Errorf("got error %v, want %q", err, core.ErrManifestInvalid)
			}
			return
		}
		var other read
		if err := json.Unmarshal(data, &other); err != nil {
			t.Fatalf("a client in Go cannot read it: %v", err)
		}
		same := func(what string, a, b []core.Descriptor) {
			if !slices.EqualFunc(a, b, func(a, b core.Descriptor) bool {
				return a.Digest == b.Digest && a.Size == b.Size && a.MediaType == b.MediaType
			}) {
				t.Errorf("%s: got %v, a client in Go reads %v", what, a, b)
			}
		}
		one := func(d *core.Descriptor) (list []core.Descriptor) {
			if d != nil {
				list = append(list, *d)
			}
			return list
		}
		same("config", one(doc.Config), one(other.Config))
		same("layers", doc.Layers, other.Layers)
		same("blobs", doc.Blobs, other.Blobs)
		same("manifests", doc.Manifests, other.Manifests)
		same("subject", one(doc.Subject), one(other.Subject))
		if doc.MediaType != other.MediaType || len(doc.Annotations) != len(other.Annotations) && doc.Annotations != nil {
			t.Errorf("got type %q and %d annotations, a client in Go reads %q and %d",
				doc.MediaType, len(doc.Annotations), other.MediaType, len(other.Annotations))
		}
		for name, text := range doc.Annotations {
			if other.Annotations[name] != text {
				t.Errorf("annotation %q: got %q, a client in Go reads %q", name, text, other.Annotations[name])
			}
		}
	})
}
