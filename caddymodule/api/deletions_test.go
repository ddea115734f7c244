package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// pushIndex pushes an index of images.
func (r *registry) pushIndex(repo string, images []digest.Digest, tags ...string) digest.Digest {
	r.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for i, architecture := range []string{"amd64", "arm64"}[:len(images)] {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: images[i], Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: architecture}})
	}
	return r.put(repo, index.MediaType, index, tags...)
}

func digestsOf(parts []api.Part) (all []digest.Digest) {
	for _, part := range parts {
		all = append(all, part.Digest)
	}
	return all
}

// A plan says what goes with an image, and its key deletes exactly that.
func TestPlansOfDeletions(t *testing.T) {
	r := newRegistry(t)
	amd, shared := r.push("team/app", "amd64"), r.push("team/app", "arm64")
	other := r.pushIndex("team/app", []digest.Digest{shared}, "other")
	index := r.pushIndex("team/app", []digest.Digest{amd, shared}, "v1", "latest")
	signatureTag := strings.Replace(string(index), ":", "-", 1) + ".sig"
	signature := r.push("team/app", "signature", signatureTag)
	a := r.as(erich, everything{})
	at := "/api/images/team/app@" + string(index)
	plan := get[api.PlanAnswer](t, a, at+"/-/deletion")
	if got, want := digestsOf(plan.Goes), []digest.Digest{index, amd, signature}; !slices.Equal(got, want) {
		t.Errorf("goes: got %v, want %v", got, want)
	}
	if !slices.Equal(digestsOf(plan.Stays), []digest.Digest{shared}) || !slices.Equal(plan.Tags, []string{"latest", "v1", signatureTag}) ||
		plan.Repository != "team/app" || plan.Digest != index || plan.Bytes == 0 || plan.AtMost || len(plan.Within) != 0 {
		t.Errorf("got %+v", plan)
	}
	if one := plan.Goes[1]; one.Part != "named" || one.Of != index || one.Platform != "linux/amd64" || one.Attached != "" {
		t.Errorf("the platform: got %+v", one)
	}
	if one := plan.Goes[2]; one.Part != "refers" || one.Of != index || one.Attached != core.AttachedSignature || !slices.Equal(one.Tags, []string{signatureTag}) {
		t.Errorf("the signature: got %+v", one)
	}
	if byTag := get[api.PlanAnswer](t, a, "/api/images/team/app:v1/-/deletion"); byTag.Key != plan.Key || byTag.Digest != index {
		t.Errorf("by a tag: got %+v", byTag)
	}
	if within := get[api.PlanAnswer](t, a, "/api/images/team/app@"+string(amd)+"/-/deletion"); !slices.Equal(within.Within, []digest.Digest{index}) {
		t.Errorf("of a platform: got %+v", within)
	}

	r.put("team/app", ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: amd, Size: 1}},
	}, "another")
	var refused api.Errors
	if got := ask(t, a, http.MethodDelete, at+"?plan="+plan.Key, &refused); got.Code != http.StatusConflict || !strings.Contains(refused.Errors[0].Message, "nothing was deleted") {
		t.Errorf("after a change: got %d %s", got.Code, got.Body)
	}
	if images, _ := pages(t, a, "/api/images/team/app/-/images", 50); len(images.Images) != 6 {
		t.Errorf("%d images are left, want all 6", len(images.Images))
	}
	plan = get[api.PlanAnswer](t, a, at+"/-/deletion")
	var answer api.Deleted
	if got := ask(t, a, http.MethodDelete, at+"?plan="+plan.Key, &answer); got.Code != http.StatusOK {
		t.Fatalf("got %d %s", got.Code, got.Body)
	}
	if d := answer.Deleted; !d.Manifest || d.Digest != index || !slices.Equal(d.Manifests, []digest.Digest{index, signature}) ||
		!slices.Equal(d.Tags, []string{"latest", "v1", signatureTag}) {
		t.Errorf("got %+v", d)
	}
	images, _ := pages(t, a, "/api/images/team/app/-/images", 50)
	if left := names(images); len(left) != 4 || !slices.Contains(left, string(other)) || !slices.Contains(left, string(amd)) {
		t.Errorf("left are %q", left)
	}

	// Without a plan a manifest goes alone.
	if got := ask(t, a, http.MethodDelete, "/api/images/team/app@"+string(other), &answer); got.Code != http.StatusOK || len(answer.Deleted.Tags) != 1 {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	get[api.ImageAnswer](t, a, "/api/images/team/app@"+string(shared))
}

// Plans are for those who may delete.
func TestWhoMayNotDeleteSeesNoPlan(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1")
	at := "/api/images/team/app@" + string(image)
	plan := get[api.PlanAnswer](t, r.as(erich, everything{}), at+"/-/deletion")
	for _, row := range []struct {
		who    policies.Identity
		policy policies.Policy
		want   int
	}{
		{erich, only("team"), http.StatusForbidden},
		{erich, only("other"), http.StatusNotFound},
		{anonymous, only("team"), http.StatusForbidden}, // nobody can sign in
	} {
		a := r.as(row.who, row.policy)
		for target, method := range map[string]string{
			at + "/-/deletion": http.MethodGet, "/api/images/team/app:none/-/deletion": http.MethodGet, at + "?plan=" + plan.Key: http.MethodDelete,
		} {
			if got := ask(t, a, method, target, nil); got.Code != row.want || strings.Contains(got.Body.String(), plan.Key) {
				t.Errorf("%s %s by %s: got %d %s, want %d", method, target, row.who, got.Code, got.Body, row.want)
			}
		}
	}
	get[api.ImageAnswer](t, r.as(erich, everything{}), at)
}

// stopping is a registry whose second deletion fails.
type stopping struct {
	core.Registry
	err  error
	done int
}

func (s *stopping) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	if s.done++; s.done == 2 {
		return s.err
	}
	return s.Registry.DeleteManifest(ctx, repo, d)
}

// A deletion that stops halfway says how far it came.
func TestADeletionThatStops(t *testing.T) {
	for _, row := range []struct {
		name   string
		err    error
		status int
		logged bool
	}{
		{"a change", core.ErrChanged, http.StatusConflict, false},
		{"a store that is away", fmt.Errorf("%w: secret", core.ErrUnavailable), http.StatusServiceUnavailable, true},
		{"a fault", errors.New("/secret/path is on fire"), http.StatusInternalServerError, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegistry(t)
			amd, arm := r.push("team/app", "amd64"), r.push("team/app", "arm64")
			index := r.pushIndex("team/app", []digest.Digest{amd, arm}, "v1")
			var log bytes.Buffer
			a := r.as(erich, everything{})
			a.Registry, a.Log = &stopping{Registry: a.Registry, err: row.err}, slog.New(slog.NewTextHandler(&log, nil))
			at := "/api/images/team/app@" + string(index)
			plan := get[api.PlanAnswer](t, a, at+"/-/deletion")
			var refused struct {
				Errors []struct {
					Message string
					Detail  api.Deletion
				}
			}
			got := ask(t, a, http.MethodDelete, at+"?plan="+plan.Key, &refused)
			if got.Code != row.status || (got.Header().Get("Retry-After") != "") != (row.status == http.StatusServiceUnavailable) {
				t.Errorf("got %d, Retry-After %q", got.Code, got.Header().Get("Retry-After"))
			}
			one := refused.Errors[0]
			if !strings.Contains(one.Message, "1 of 3 manifests were deleted, and the rest stays") || strings.Contains(one.Message, "secret") ||
				!slices.Equal(one.Detail.Manifests, []digest.Digest{index}) || !slices.Equal(one.Detail.Tags, []string{"v1"}) {
				t.Errorf("got %s", got.Body)
			}
			if strings.Contains(log.String(), "deletion stopped") != row.logged {
				t.Errorf("logged %q", log.String())
			}
		})
	}
}

// crowded is a repository with an index of more images than a plan can have.
type crowded struct {
	core.Unimplemented
	whole bool
}

func (c crowded) CatalogState(context.Context) (core.CatalogState, error) {
	return core.CatalogState{Whole: c.whole}, nil
}

func (crowded) ImageRow(_ context.Context, _ string, d digest.Digest) (core.ImageRow, error) {
	return core.ImageRow{Digest: d}, nil
}

func (crowded) TagRow(context.Context, string, string) (core.TagRow, error) {
	return core.TagRow{}, core.ErrManifestUnknown
}

func (crowded) ImageNames(_ context.Context, _ string, d digest.Digest) (rows []core.NamedRow, err error) {
	if d == digest.FromString("index") {
		for i := range 1500 {
			rows = append(rows, core.NamedRow{Digest: digest.FromString(fmt.Sprint(i)), Manifest: true})
		}
	}
	return rows, nil
}

func (crowded) DigestTags(context.Context, string, digest.Digest, string) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

func (crowded) UserRows(context.Context, string, digest.Digest, string) iter.Seq2[core.ContentRow, error] {
	return func(func(core.ContentRow, error) bool) {}
}

func TestPlansThatCannotBeMade(t *testing.T) {
	at := "/api/images/team/app@" + string(digest.FromString("index"))
	for _, row := range []struct {
		whole  bool
		status int
		want   string
	}{
		{true, http.StatusBadRequest, "more than one answer can have"},
		{false, http.StatusServiceUnavailable, "while the index is being built"},
	} {
		a := &api.API{Registry: crowded{whole: row.whole}, Mirror: mirrorOf}
		for method, target := range map[string]string{http.MethodGet: at + "/-/deletion", http.MethodDelete: at + "?plan=x"} {
			got := ask(t, a, method, target, nil)
			if got.Code != row.status || !strings.Contains(got.Body.String(), row.want) || (got.Header().Get("Retry-After") != "") == row.whole {
				t.Errorf("%s %s: got %d %s", method, target, got.Code, got.Body)
			}
		}
	}
}
