package transfer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// A manifest's required blobs are brought once each, the largest first, and those that it only names
// apart from that.
func TestTheContentsOfAManifest(t *testing.T) {
	sum := func(s string) digest.Digest { return digest.FromString(s) }
	layer := func(name string, size int) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, sum(name), size)
	}
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s,%s,%s],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":1},"more":[{"digest":%q},{"digest":%q}]}`,
		layer("config", 5), layer("small", 1), layer("large", 9), layer("small", 1), sum("subject"), sum("named"), sum("large"))
	inspected, err := core.Inspect(doc)
	if err != nil {
		t.Fatal(err)
	}
	required, named := contents(doc, &inspected)
	var got []digest.Digest
	for _, desc := range required {
		got = append(got, desc.Digest)
	}
	if want := []digest.Digest{sum("large"), sum("config"), sum("small")}; !slices.Equal(got, want) {
		t.Errorf("it requires %v, want %v", got, want)
	}
	if want := []digest.Digest{sum("named")}; !slices.Equal(named, want) {
		t.Errorf("it names %v, want %v", named, want)
	}
}
