package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// attach pushes an artifact of a type and with a note that refers to subject.
func (w *world) attach(t *testing.T, subject digest.Digest, artifactType, note string) digest.Digest {
	t.Helper()
	data := marshal(t, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Config: blobOf("config"),
		Subject:     &core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 1},
		Annotations: map[string]string{"note": note},
	})
	must(t, w.put(t.Context(), repo, data, false))
	return digest.FromBytes(data)
}

func TestReferrersOfATypePassOverABoundedNumberOfOthers(t *testing.T) {
	w, err := newWorld()
	must(t, err)
	defer w.Close()
	_, err = w.upload(t.Context(), repo, "config")
	must(t, err)
	subject := digest.FromString("subject")
	var want []digest.Digest
	for n := range 2*core.MaxPassed + 200 {
		artifactType := "x/sbom"
		if n%300 == 7 {
			artifactType = "x/signature"
		}
		d := w.attach(t, subject, artifactType, fmt.Sprint(n))
		if artifactType == "x/signature" {
			want = append(want, d)
		}
	}
	slices.Sort(want)
	var got []digest.Digest
	pauses := 0
	for after := digest.Digest(""); ; {
		var pause *core.Pause
		for desc, err := range w.Referrers(t.Context(), repo, subject, "x/signature", after) {
			if errors.As(err, &pause) {
				continue // it ends the list
			}
			must(t, err)
			got = append(got, desc.Digest)
		}
		if pause == nil {
			break
		}
		pauses++
		after = digest.Digest(pause.After)
		must(t, after.Validate())
	}
	if pauses != 2 || !slices.Equal(got, want) {
		t.Errorf("got %d referrers with %d pauses, want %d with 2", len(got), pauses, len(want))
	}
}

func TestALargeReferrerIsListedWithoutItsAnnotations(t *testing.T) {
	w, err := newWorld()
	must(t, err)
	defer w.Close()
	_, err = w.upload(t.Context(), repo, "config")
	must(t, err)
	subject := digest.FromString("subject")
	large := w.attach(t, subject, "x/sbom", strings.Repeat("a", 3<<20))
	small := w.attach(t, subject, "x/sbom", "a")
	listed := map[digest.Digest]core.Descriptor{}
	for desc, err := range w.Referrers(t.Context(), repo, subject, "x/sbom", "") {
		must(t, err)
		listed[desc.Digest] = desc
	}
	if len(listed) != 2 || listed[large].Annotations != nil || listed[small].Annotations["note"] != "a" {
		t.Errorf("got %.300v, want both, and no annotations of the large one", listed)
	}
	for key, o := range w.memory.visible {
		if strings.Contains(key, "_referrers") && len(o.data) > core.MaxReferrerSize {
			t.Errorf("%s has %d bytes, want at most %d", key, len(o.data), core.MaxReferrerSize)
		}
	}
}
