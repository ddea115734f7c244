package pages_test

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// signed is a registry that holds an image and its signature under a tag of cosign, which somebody
// else changes before it is deleted.
type signed struct{ shelf }

var (
	signature    = core.ImageRow{Digest: digest.FromString("signature"), Described: true, ImageFacts: image.ImageFacts}
	signatureTag = "sha256-" + image.Digest.Encoded() + ".sig"
)

func (s *signed) ImageRow(_ context.Context, _ string, d digest.Digest) (core.ImageRow, error) {
	if d == signature.Digest {
		return signature, nil
	}
	return image, nil
}

func (s *signed) TagRow(_ context.Context, _, tag string) (core.TagRow, error) {
	row := core.TagRow{Name: tag, Image: image}
	switch tag {
	case signatureTag:
		row.Image = signature
	case "v1":
	default:
		return core.TagRow{}, core.ErrManifestUnknown
	}
	row.Digest = row.Image.Digest
	return row, nil
}

func (s *signed) DigestTags(_ context.Context, _ string, d digest.Digest, _ string) iter.Seq2[string, error] {
	tag := "v1"
	if d == signature.Digest {
		tag = signatureTag
	}
	return func(yield func(string, error) bool) { yield(tag, nil) }
}

func (s *signed) UserRows(context.Context, string, digest.Digest, string) iter.Seq2[core.ContentRow, error] {
	return func(func(core.ContentRow, error) bool) {}
}

func (s *signed) DeleteManifest(_ context.Context, _ string, d digest.Digest) error {
	if d == signature.Digest {
		return core.ErrChanged
	}
	return nil
}

// The page of an image has what cosign's tags attach to it.
func TestAttachedSignaturesAreShown(t *testing.T) {
	answer, log := openAt(&signed{shelf{state: core.CatalogState{Whole: true}}}, "/images/team/app:v1")
	for _, want := range []string{"Signature, not verified here", signature.Digest.String(), "attached by a tag of cosign"} {
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), want) {
			t.Errorf("got %d without %q: %s%s", answer.Code, want, visible(answer), log)
		}
	}
	if answer, _ = openAt(&shelf{state: core.CatalogState{Whole: true}}, "/images/team/app:v1"); strings.Contains(answer.Body.String(), "cosign") {
		t.Error("an image is attached to itself")
	}
}

// The review says what goes, and the page of a deletion that stopped what is left.
func TestADeletionThatStopsSaysWhatIsLeft(t *testing.T) {
	s := &signed{shelf{state: core.CatalogState{Whole: true}}}
	site := &pages.Site{
		Registry: s, Private: s, Who: policies.Identity{User: "ada"}, Host: "registry.test", Cursors: backwards{},
		Canonical: func(name string) (string, string, bool) { return name, "", true },
		Rights:    func(string) []pages.Right { return []pages.Right{{Action: policies.Delete, Allowed: true}} },
	}
	const path = "/images/team/app/-/delete"
	review := httptest.NewRecorder()
	site.ServeHTTP(review, httptest.NewRequest(http.MethodGet, path+"?tag=v1", nil))
	for _, want := range []string{"2 manifests go now, with 2 tags", "Signature " + signature.Digest.Encoded()[:12]} {
		if !strings.Contains(visible(review), want) {
			t.Errorf("the review has no %q: %s", want, visible(review))
		}
	}
	form := url.Values{"tag": {"v1"}, "do": {"images"}}
	for _, key := range regexp.MustCompile(`name="key" value="([^"]*)"`).FindAllStringSubmatch(review.Body.String(), -1) {
		form.Set("key", key[1]) // the last is that of the images
	}
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	site.ServeHTTP(answer, request)
	if answer.Code != http.StatusConflict {
		t.Errorf("got %d", answer.Code)
	}
	for _, want := range []string{
		"Stopped: 1 manifest of 2 went", "Tags that went: v1.", "Not deleted: " + signature.Digest.Encoded()[:12], "the deletion ended there",
	} {
		if !strings.Contains(visible(answer), want) {
			t.Errorf("no %q: %s", want, visible(answer))
		}
	}
}
