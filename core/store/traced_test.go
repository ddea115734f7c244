package store_test

import (
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

func TestACommitAndItsSyncsAreSpans(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{})
	defer r.close(t)
	spans := new(coretest.Spans)
	_, err := r.PutManifest(spans.Context(t.Context()), "team/app", core.ManifestPut{
		MediaType: ocispec.MediaTypeImageIndex, Tags: []string{"v1", "v2"},
		Bytes: []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`),
	})
	must(t, err)
	sync := "request > store.commit > store.sync registry.sync.objects="
	want := []string{sync + "0", sync + "1", sync + "1", sync + "2", "request > store.commit"} // blobs, bytes; link; tags
	got := spans.Ended()
	if len(got) == len(want) {
		slices.Sort(got[:2]) // at the same time
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
