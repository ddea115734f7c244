package coretest

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// Deleter is the contract of core.Deleter: a delete is visible on the next read.
func Deleter(t *testing.T, open Open) {
	const repo, other = "team/deletes", "team/other"
	run(t, open, []clause{
		{"a tag goes and its manifest stays", func(t *testing.T, f *fixture) {
			m := f.image(repo, "one", "v1", "v2")
			f.wantManifest(repo, tagged("v1"), m) // read once, so that a cache has it
			if err := f.reg.DeleteTag(t.Context(), repo, "v1"); err != nil {
				t.Fatalf("delete tag: %v", err)
			}
			f.wantNoManifest(repo, tagged("v1"))
			f.wantManifest(repo, tagged("v2"), m)
			f.wantManifest(repo, digested(m.Descriptor.Digest), m)
			f.wantTags(repo, "v2")
			wantError(t, "delete again", f.reg.DeleteTag(t.Context(), repo, "v1"), core.ErrManifestUnknown)
			f.image(repo, "one", "v1")
			f.wantManifest(repo, tagged("v1"), m)
		}},
		{"a manifest goes with every tag that names it", func(t *testing.T, f *fixture) {
			one, two := f.image(repo, "one", "v1", "v1.0", "latest"), f.image(repo, "two", "v2", "latest")
			f.image(other, "one", "v1")
			f.wantManifest(repo, digested(one.Descriptor.Digest), one)
			if err := f.reg.DeleteManifest(t.Context(), repo, one.Descriptor.Digest); err != nil {
				t.Fatalf("delete manifest: %v", err)
			}
			for _, ref := range []core.Reference{tagged("v1"), tagged("v1.0"), digested(one.Descriptor.Digest)} {
				f.wantNoManifest(repo, ref)
			}
			f.wantTags(repo, "latest", "v2")
			f.wantManifest(repo, tagged("latest"), two)
			f.wantManifest(other, tagged("v1"), one)
			wantError(t, "delete again", f.reg.DeleteManifest(t.Context(), repo, one.Descriptor.Digest), core.ErrManifestUnknown)
			f.image(repo, "one", "v1")
			f.wantManifest(repo, tagged("v1"), one)
		}},
		{"whoever asks is told what went", func(t *testing.T, f *fixture) {
			one, two := f.image(repo, "one", "v1", "v2", "latest"), f.image(repo, "two", "v3", "latest")
			ctx, deleted := core.WithDeletion(t.Context())
			if err := f.reg.DeleteTag(ctx, repo, "latest"); err != nil || deleted.Digest != two.Descriptor.Digest {
				t.Errorf("deleted the tag of %s, %v, want %s", deleted.Digest, err, two.Descriptor.Digest)
			}
			ctx, deleted = core.WithDeletion(t.Context())
			if err := f.reg.DeleteManifest(ctx, repo, one.Descriptor.Digest); err != nil || !slices.Equal(deleted.Tags, []string{"v1", "v2"}) {
				t.Errorf("tags %q went with the manifest, %v, want v1 and v2", deleted.Tags, err)
			}
			ctx, deleted = core.WithDeletion(t.Context())
			if err := f.reg.DeleteTag(ctx, repo, "v1"); err == nil || deleted.Digest != "" {
				t.Errorf("deleted the tag of %q, %v, which was gone", deleted.Digest, err)
			}
		}},
		{"nothing goes that is not as expected", func(t *testing.T, f *fixture) {
			one, two := f.image(repo, "one", "v1", "v2"), f.image(repo, "two", "v3")
			expect := func(e core.Expected) context.Context { return core.WithExpected(t.Context(), e) }
			wantError(t, "a tag of another manifest", f.reg.DeleteTag(expect(core.Expected{Digest: two.Descriptor.Digest}), repo, "v1"), core.ErrChanged)
			wantError(t, "a tag that went", f.reg.DeleteTag(expect(core.Expected{Digest: two.Descriptor.Digest}), repo, "gone"), core.ErrChanged)
			for _, tags := range [][]string{nil, {"v1"}, {"v1", "v2", "v3"}, {"v1", "v3"}} {
				wantError(t, "a manifest with other tags", f.reg.DeleteManifest(expect(core.Expected{Tags: tags}), repo, one.Descriptor.Digest), core.ErrChanged)
			}
			f.wantTags(repo, "v1", "v2", "v3")
			f.wantManifest(repo, tagged("v1"), one)
			if err := f.reg.DeleteManifest(expect(core.Expected{Tags: []string{"v1", "v2"}}), repo, one.Descriptor.Digest); err != nil {
				t.Errorf("a manifest with its tags: %v", err)
			}
			if err := f.reg.DeleteTag(expect(core.Expected{Digest: two.Descriptor.Digest}), repo, "v3"); err != nil {
				t.Errorf("a tag as expected: %v", err)
			}
			if err := f.reg.DeleteManifest(expect(core.Expected{}), repo, two.Descriptor.Digest); err != nil {
				t.Errorf("a manifest without tags: %v", err)
			}
		}},
		{"the last manifest takes the repository with it", func(t *testing.T, f *fixture) {
			m := f.image(repo, "one", "v1")
			f.image(other, "two", "v1")
			if err := f.reg.DeleteManifest(t.Context(), repo, m.Descriptor.Digest); err != nil {
				t.Fatal(err)
			}
			f.wantRepositories("", other)
			_, err := collect(f.reg.Tags(t.Context(), repo, ""))
			wantError(t, "tags of a repository that holds nothing", err, core.ErrNameUnknown)
		}},
		{"a referrer that is deleted is listed no more", func(t *testing.T, f *fixture) {
			m := f.image(repo, "one", "v1")
			gone := f.referrer(repo, "gone", "application/vnd.example.sbom", m.Descriptor)
			kept := f.referrer(repo, "kept", "application/vnd.example.sbom", m.Descriptor)
			if err := f.reg.DeleteManifest(t.Context(), repo, gone.Descriptor.Digest); err != nil {
				t.Fatal(err)
			}
			f.wantReferrers(repo, m.Descriptor.Digest, "", "", kept)
			// A referrer outlives its subject until somebody deletes it.
			if err := f.reg.DeleteManifest(t.Context(), repo, m.Descriptor.Digest); err != nil {
				t.Fatal(err)
			}
			f.wantReferrers(repo, m.Descriptor.Digest, "", "", kept)
		}},
		{"a blob that manifests name stays until they go", func(t *testing.T, f *fixture) {
			layer := f.blob(repo, "used layer")
			put := core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: imageOf(f.config(repo, "user"), layer)}
			user := f.put(repo, put)
			err := f.reg.DeleteBlob(t.Context(), repo, layer.Digest)
			wantError(t, "delete of a used blob", err, core.ErrBlobInUse)
			if detail := string(encode(core.Detail(err))); !strings.Contains(detail, string(user.Descriptor.Digest)) {
				t.Errorf("detail %s: does not name the manifest %s", detail, user.Descriptor.Digest)
			}
			f.wantBlob(repo, layer.Digest, "used layer")
			if err := f.reg.DeleteManifest(t.Context(), repo, user.Descriptor.Digest); err != nil {
				t.Fatal(err)
			}
			if err := f.reg.DeleteBlob(t.Context(), repo, layer.Digest); err != nil {
				t.Fatalf("delete when nothing names it: %v", err)
			}
			f.wantNoBlob(repo, layer.Digest)
			_, err = f.fill.PutManifest(t.Context(), repo, put)
			wantError(t, "push of a manifest whose layer was deleted", err, core.ErrManifestBlobUnknown)
		}},
		{"a blob goes from one repository only", func(t *testing.T, f *fixture) {
			layer := f.blob(repo, "shared layer")
			f.blob(other, "shared layer")
			if err := f.reg.DeleteBlob(t.Context(), repo, layer.Digest); err != nil {
				t.Fatal(err)
			}
			f.wantNoBlob(repo, layer.Digest)
			f.wantBlob(other, layer.Digest, "shared layer")
			_, err := f.fill.Mount(t.Context(), "team/third", repo, layer.Digest)
			wantError(t, "mount from where it was deleted", err, core.ErrBlobUnknown)
			f.blob(repo, "shared layer")
			f.wantBlob(repo, layer.Digest, "shared layer")
		}},
		{"what is not here cannot be deleted", func(t *testing.T, f *fixture) {
			wantUnknown(t, "tag of an unknown repository", f.reg.DeleteTag(t.Context(), "team/none", "v1"), core.ErrManifestUnknown)
			wantUnknown(t, "manifest of an unknown repository", f.reg.DeleteManifest(t.Context(), "team/none", absentDigest("m")), core.ErrManifestUnknown)
			wantUnknown(t, "blob of an unknown repository", f.reg.DeleteBlob(t.Context(), "team/none", absentDigest("b")), core.ErrBlobUnknown)
			f.image(repo, "one", "v1")
			wantError(t, "tag", f.reg.DeleteTag(t.Context(), repo, "V1"), core.ErrManifestUnknown)
			wantError(t, "manifest", f.reg.DeleteManifest(t.Context(), repo, absentDigest("m")), core.ErrManifestUnknown)
			wantError(t, "blob", f.reg.DeleteBlob(t.Context(), repo, absentDigest("b")), core.ErrBlobUnknown)
		}},
		{"a reader that has begun reads to the end", func(t *testing.T, f *fixture) {
			const data = "read while it is deleted"
			layer := f.blob(repo, data)
			blob, err := f.reg.Blob(t.Context(), repo, layer.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer blob.Close()
			if err := f.reg.DeleteBlob(t.Context(), repo, layer.Digest); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(blob); err != nil || string(got) != data {
				t.Errorf("got %q and error %v, want %q", got, err, data)
			}
		}},
	})
}

// wantTags checks all tags of repo, in order.
func (f *fixture) wantTags(repo string, want ...string) {
	f.Helper()
	got, err := collect(f.reg.Tags(f.Context(), repo, ""))
	if err != nil || !slices.Equal(got, want) {
		f.Errorf("tags of %s: got %v and error %v, want %v", repo, got, err, want)
	}
}
