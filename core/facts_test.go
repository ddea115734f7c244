package core_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

func factsOf(t *testing.T, document any) (core.Document, core.ImageFacts) {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := core.Inspect(data)
	if err != nil {
		t.Fatal(err)
	}
	return doc, core.Facts(&doc, doc.ServedType(""), data)
}

func descriptorOf(mediaType, content string) core.Descriptor {
	return core.Descriptor{MediaType: mediaType, Digest: digest.FromString(content), Size: int64(len(content))}
}

func TestFactsOfAnImage(t *testing.T) {
	config, layer := descriptorOf(ocispec.MediaTypeImageConfig, "config"), descriptorOf(ocispec.MediaTypeImageLayerGzip, "layer")
	doc, facts := factsOf(t, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []core.Descriptor{layer, layer},
		Annotations: map[string]string{
			ocispec.AnnotationTitle: "title", ocispec.AnnotationDescription: strings.Repeat("é", 200), "other": "x",
		},
	})
	if !doc.Configurable() || facts.Content != 11 || facts.Layers != 2 || facts.Config != config.Digest || facts.Size < 300 {
		t.Errorf("got %+v", facts)
	}
	if len(facts.Annotations) != 2 || facts.Annotations[ocispec.AnnotationDescription] != strings.Repeat("é", 150) {
		t.Errorf("got annotations %q", facts.Annotations)
	}
	facts = facts.WithConfig([]byte(`{"created":"2026-01-02T03:04:05Z","os":"linux","architecture":"arm","variant":"v7"}`))
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); !facts.Created.Equal(want) ||
		!reflect.DeepEqual(facts.Platforms, []core.PlatformRow{{Platform: "linux/arm/v7"}}) {
		t.Errorf("with its config: got %+v", facts)
	}
	for _, config := range []string{"", "null", "[]", `{"created":"yesterday"}`, `{"created":"99999-01-01T00:00:00Z"}`, "{}"} {
		if got := facts.WithConfig([]byte(config)); len(got.Platforms) > 1 {
			t.Errorf("config %s: got %+v", config, got)
		}
	}
}

func TestFactsOfAnIndex(t *testing.T) {
	amd, arm, statement := digest.FromString("amd64"), digest.FromString("arm64"), digest.FromString("statement")
	_, facts := factsOf(t, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: amd, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: arm, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: statement, Size: 1, Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(amd)}},
	}})
	want := []core.PlatformRow{{Platform: "linux/amd64", Digest: amd}, {Platform: "linux/arm64/v8", Digest: arm}, {Digest: statement, Attests: amd}}
	if !reflect.DeepEqual(facts.Platforms, want) || facts.Content != 0 {
		t.Errorf("got %+v, want platforms %+v", facts, want)
	}
	var many []core.Descriptor
	for i := range 500 {
		many = append(many, core.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1,
			Platform: &ocispec.Platform{OS: strings.Repeat("o", 100), Architecture: "a"},
		})
	}
	_, facts = factsOf(t, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: many})
	// A hostile document takes no more memory than a few of its descriptors.
	for _, hostile := range []string{
		`{"manifests":[` + strings.Repeat("{},", 1_000_000) + `{}]}`, `{"manifests":[` + strings.Repeat("{},", 80_000) + `{}]}`,
		`{"manifests":[{"annotations":{` + strings.Repeat(`"a":"",`, 30_000) + `"b":""}}]}`,
		`{"manifests":[{"platform":{"os.features":[` + strings.Repeat(`"",`, 60_000) + `""]}}]}`,
	} {
		doc := core.Document{Kind: core.KindIndex}
		allocations := testing.AllocsPerRun(1, func() { core.Facts(&doc, "", []byte(hostile)) })
		if allocations > 2000 {
			t.Errorf("an index of %d bytes took %v allocations", len(hostile), allocations)
		}
	}
	if data, err := json.Marshal(facts); err != nil || len(facts.Platforms) != core.MaxPlatforms || len(data) > 16<<10 {
		t.Errorf("got %d platforms, %d bytes and error %v", len(facts.Platforms), len(data), err)
	}
}
