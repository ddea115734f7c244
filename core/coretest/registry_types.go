package coretest

import (
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// createOnlyTypes pushes an image that does not say its media type, which the image-spec allows:
// its bytes fit more than one.
func createOnlyTypes(t *testing.T, f *fixture) {
	const repo = "team/types"
	config, layer := f.config(repo, "types"), f.blob(repo, "layer of types")
	data := []byte(strings.Replace(string(imageOf(config, layer)), `"mediaType":"`+ocispec.MediaTypeImageManifest+`",`, "", 1))
	push := func(mediaType string, createOnly bool, tags ...string) (core.ManifestResult, error) {
		return f.fill.PutManifest(t.Context(), repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: tags, CreateOnly: createOnly})
	}
	held, err := push(ocispec.MediaTypeImageManifest, true, "v1")
	if err != nil || held.TypeBefore != "" {
		t.Fatalf("first push: got type %q as before and error %v, want none", held.TypeBefore, err)
	}
	m := core.Manifest{Descriptor: held.Descriptor, Bytes: data}
	f.wantManifest(repo, tagged("v1"), m)
	for _, mediaType := range []string{core.MediaTypeDockerManifest, "application/vnd.example.thing+json"} {
		for _, tags := range [][]string{nil, {"v1"}, {"v2"}, {"v3", "v1"}} {
			_, err := push(mediaType, true, tags...)
			wantError(t, mediaType, err, core.ErrTypeHeld)
			if detail := string(encode(core.Detail(err))); !strings.Contains(detail, ocispec.MediaTypeImageManifest) {
				t.Errorf("detail %s: does not name the type that the manifest has", detail)
			}
		}
	}
	f.wantManifest(repo, tagged("v1"), m)
	f.wantManifest(repo, digested(m.Descriptor.Digest), m)
	f.wantNoManifest(repo, tagged("v2"))
	f.wantNoManifest(repo, tagged("v3"))

	// The same type again is a CI job that runs twice.
	if again, err := push(ocispec.MediaTypeImageManifest, true, "v1", "v2"); err != nil || again.TypeBefore != "" || !slices.Equal(again.Tags, []string{"v1", "v2"}) {
		t.Errorf("the same type again: got tags %v, type %q as before and error %v, want v1 and v2", again.Tags, again.TypeBefore, err)
	}
	// Another repository has not said anything about it.
	f.config("team/types2", "types")
	f.blob("team/types2", "layer of types")
	other, err := f.fill.PutManifest(t.Context(), "team/types2", core.ManifestPut{MediaType: core.MediaTypeDockerManifest, Bytes: data, CreateOnly: true})
	if err != nil {
		t.Errorf("push to another repository: %v", err)
	} else {
		f.wantManifest("team/types2", digested(m.Descriptor.Digest), core.Manifest{Descriptor: other.Descriptor, Bytes: data})
	}
	f.wantManifest(repo, tagged("v1"), m)

	// A caller who may update can, and gets the previous type.
	changed, err := push(core.MediaTypeDockerManifest, false)
	if err != nil || changed.TypeBefore != ocispec.MediaTypeImageManifest {
		t.Errorf("push by somebody who may update: got type %q as before and error %v, want %q", changed.TypeBefore, err, ocispec.MediaTypeImageManifest)
	}
	m.Descriptor.MediaType = core.MediaTypeDockerManifest
	f.wantManifest(repo, tagged("v1"), m)
	if again, err := push(core.MediaTypeDockerManifest, false, "v1"); err != nil || again.TypeBefore != "" {
		t.Errorf("the same again: got type %q as before and error %v, want none", again.TypeBefore, err)
	}
}
