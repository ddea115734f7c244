package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
)

// answering is a catalog that answers as the function says.
func answering(answer func(*http.Request) any) *catalog {
	return &catalog{"http://test", func(r *http.Request) (*http.Response, error) {
		body, err := json.Marshal(answer(r))
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body))}, err
	}}
}

// A registry that has just been opened does not know yet what goes with an image.
func TestRemovingWaitsForTheIndex(t *testing.T) {
	for _, lasts := range []time.Duration{0, 3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			c := answering(func(*http.Request) any { return api.State{Whole: time.Since(begun) >= lasts} })
			if err := c.whole(t.Context()); err != nil {
				t.Error(err)
			}
			if took, want := time.Since(begun), min(lasts, indexWait); took < want || took > want+indexStep {
				t.Errorf("waited %v for what takes %v", took, lasts)
			}
		})
	}
}

func TestAPlanIsPrinted(t *testing.T) {
	d := func(text string) digest.Digest { return digest.FromString(text) }
	var out bytes.Buffer
	p := newPrinter(&out)
	p.plan(&api.PlanAnswer{
		Goes: []api.Part{
			{Digest: d("index"), Part: "chosen", Tags: []string{"latest", "v1"}},
			{Digest: d("amd64"), Part: "named", Platform: "linux/amd64"},
			{Digest: d("provenance"), Part: "named", Platform: "unknown/unknown", Attests: true},
			{Digest: d("sbom"), Part: "refers", ArtifactType: "application/spdx+json\x1b[2J"},
			{Digest: d("signature"), Part: "refers", Attached: core.AttachedSignature, Tags: []string{"sha256-0.sig"}},
		},
		Stays:  []api.Part{{Digest: d("arm64"), Part: "named", Platform: "linux/arm64", Tags: []string{"arm"}}},
		Within: []digest.Digest{d("other")}, Tags: []string{"latest", "v1", "sha256-0.sig"}, Bytes: 1_000_000, AtMost: true,
	})
	p.flush()
	got := strings.Join(strings.Fields(out.String()), " ")
	want := fmt.Sprintf("GOES DIGEST TAGS image %s latest, v1 linux/amd64 %s attestation %s application/spdx+json\ufffd[2J %s signature %s sha256-0.sig "+
		"STAYS DIGEST TAGS linux/arm64 %s arm WILL LACK IT DIGEST image %s "+
		"manifests: 5, tags: 3; the collector can free at most 1.0 MB",
		d("index"), d("amd64"), d("provenance"), d("sbom"), d("signature"), d("arm64"), d("other"))
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
