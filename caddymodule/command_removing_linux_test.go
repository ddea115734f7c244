package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// rm shows what goes with an image, asks, and deletes exactly that.
func TestRemovingAnImage(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	registrytest.Load(t, registrytest.Caddyfile(port, storage, registrytest.AllowAll, ""))
	r := registrytest.At(t, port)
	platform := r.PushImage("team/app", "amd64", []byte("amd64"))
	kept := r.PushImage("team/app", "arm64", []byte("arm64"))
	_, tags := r.Want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/amd64", nil)
	data := mustJSON(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: platform, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: kept, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}},
	}})
	index := digest.FromBytes(data)
	r.Want(http.StatusCreated, "PUT", "/v2/team/app/manifests/v1", bytes.NewReader(data), "Content-Type", ocispec.MediaTypeImageIndex)
	signature := r.PushImage("team/app", strings.Replace(index.String(), ":", "-", 1)+".sig", []byte("signature"))
	whole(r)
	held := func() int {
		t.Helper()
		_, body := r.Want(http.StatusOK, "GET", "/api/images/team/app/-/images", nil)
		var list api.List
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Images)
	}
	before := held()
	if before != 4 {
		t.Fatalf("%d manifests are held: %s", before, tags)
	}
	at := []string{"--storage", storage}

	out, _ := runs(t, registrytest.Done, append([]string{"rm", "--dry-run", "team/app:v1"}, at...)...)
	if want := "would remove the tag team/app:v1; the image " + index.String() + " stays\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	wants := func(what, text string) {
		t.Helper()
		for _, want := range []string{
			"GOES", "image        " + index.String(), "linux/amd64  " + platform.String(), "signature    " + signature.String(),
			"STAYS", "linux/arm64  " + kept.String() + "  arm64", "manifests: 3, tags: 2; the collector can free ",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in %s", what, want, text)
			}
		}
	}
	for _, by := range [][]string{at, {"--server", r.Base}} {
		out, _ = runs(t, registrytest.Done, append([]string{"rm", "--image", "--dry-run", "team/app:v1"}, by...)...)
		wants("a dry run", out)
	}
	out, _ = runs(t, registrytest.Done, append([]string{"rm", "--dry-run", "--json", "team/app@" + index.String()}, at...)...)
	var plan api.PlanAnswer
	if err := json.Unmarshal([]byte(out), &plan); err != nil || plan.Digest != index || len(plan.Goes) != 3 {
		t.Errorf("got %s: %v", out, err)
	}
	shown, status := onTerminal(t, "n\n", append([]string{"rm", "--image", "team/app:v1"}, at...)...)
	if wants("the terminal", shown); status != registrytest.Failed || !strings.Contains(shown, "Delete the image team/app@"+index.String()+"? [y/N]") {
		t.Errorf("got status %d, %s", status, shown)
	}
	if got := held(); got != before {
		t.Errorf("%d manifests of %d are left", got, before)
	}
	out, _ = runs(t, registrytest.Done, append([]string{"rm", "--image", "team/app:v1"}, at...)...)
	for _, want := range []string{"deleted team/app@" + index.String() + " with the tags v1, sha256-", "deleted with it " + platform.String(), "deleted with it " + signature.String()} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if got := held(); got != 1 {
		t.Errorf("%d manifests are left, want the one with a tag", got)
	}
}
