package coretest

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// Writer is the contract of core.Writer without uploads, which are Uploads.
func Writer(t *testing.T, open Open) {
	run(t, open, []clause{
		{"manifests that contradict themselves are refused", refusedManifests},
		{"an image whose blobs are missing is refused with their digests", func(t *testing.T, f *fixture) {
			held := f.blob("team/part", "held layer")
			elsewhere := f.blob("team/other", "a layer of another repository")
			config := core.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: absentDigest("config"), Size: 5}
			_, err := f.fill.PutManifest(t.Context(), "team/part", core.ManifestPut{
				MediaType: ocispec.MediaTypeImageManifest, Bytes: imageOf(config, held, elsewhere), Tags: []string{"v1"},
			})
			wantError(t, "put", err, core.ErrManifestBlobUnknown)
			detail := string(encode(core.Detail(err)))
			for _, d := range []digest.Digest{config.Digest, elsewhere.Digest} {
				if !strings.Contains(detail, string(d)) {
					t.Errorf("detail %s: does not name the missing %s", detail, d)
				}
			}
			if strings.Contains(detail, string(held.Digest)) {
				t.Errorf("detail %s: names %s, which is here", detail, held.Digest)
			}
			f.wantNoManifest("team/part", tagged("v1"))
		}},
		{"layers that are not distributable may be missing", func(t *testing.T, f *fixture) {
			for _, mediaType := range []string{
				"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
				"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
			} {
				foreign := core.Descriptor{MediaType: mediaType, Digest: absentDigest(mediaType), Size: 9, URLs: []string{"https://example.com/layer"}}
				m := f.put("team/windows", core.ManifestPut{
					MediaType: ocispec.MediaTypeImageManifest, Bytes: imageOf(f.config("team/windows", "w"), foreign), Tags: []string{"v1"},
				})
				f.wantManifest("team/windows", tagged("v1"), m)
			}
		}},
		{"several tags are set in order", func(t *testing.T, f *fixture) {
			m := f.image("team/tags", "one")
			tags := []string{"v1", "latest", "1.0.0"}
			result, err := f.fill.PutManifest(t.Context(), "team/tags", core.ManifestPut{
				MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Digest: m.Descriptor.Digest, Tags: tags,
			})
			if err != nil || !slices.Equal(result.Tags, tags) || len(result.Refused) != 0 {
				t.Fatalf("put: got tags %v, refused %v and error %v, want %v", result.Tags, result.Refused, err, tags)
			}
			for _, tag := range tags {
				f.wantManifest("team/tags", tagged(tag), m)
			}
		}},
		{"a tag moves, and a push that repeats itself changes nothing", func(t *testing.T, f *fixture) {
			one := f.image("team/move", "one", "latest")
			two := f.image("team/move", "two", "latest")
			f.wantManifest("team/move", tagged("latest"), two)
			f.wantManifest("team/move", digested(one.Descriptor.Digest), one)
			f.image("team/move", "two", "latest")
			f.wantManifest("team/move", tagged("latest"), two)
		}},
		{"create does not overwrite", createOnly},
		{"a tag moves only from where it was seen", movedFrom},
		{"create does not change the type of a manifest", createOnlyTypes},
		{"a subject is named in the answer, also when it is not here", func(t *testing.T, f *fixture) {
			config := f.config("team/subject", "s")
			subject := core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: absentDigest("subject"), Size: 3}
			data := encode(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Subject: &subject})
			result, err := f.fill.PutManifest(t.Context(), "team/subject", core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data})
			if err != nil || result.Subject != subject.Digest {
				t.Errorf("put: got subject %q and error %v, want %s", result.Subject, err, subject.Digest)
			}
			plain, err := f.fill.PutManifest(t.Context(), "team/subject", core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: imageOf(config)})
			if err != nil || plain.Subject != "" {
				t.Errorf("put without a subject: got subject %q and error %v, want none", plain.Subject, err)
			}
		}},
		{"a mount makes a blob readable here too", mounts},
	})
}

func refusedManifests(t *testing.T, f *fixture) {
	const repo = "team/refused"
	config := f.config(repo, "r")
	image := imageOf(config)
	for _, row := range []struct {
		name string
		put  core.ManifestPut
		want *core.Error
	}{
		{"not JSON", core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: []byte("{")}, core.ErrManifestInvalid},
		{"empty", core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest}, core.ErrManifestInvalid},
		{"no config", core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: []byte(`{"schemaVersion":2,"layers":[]}`)}, core.ErrManifestInvalid},
		{"another media type than it says", core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: image}, core.ErrManifestInvalid},
		{"Docker schema 1", core.ManifestPut{
			MediaType: "application/vnd.docker.distribution.manifest.v1+prettyjws", Bytes: []byte(`{"schemaVersion":1}`),
		}, core.ErrManifestInvalid},
		// Each digest becomes a path: these must end before any I/O.
		{"a digest that is a path", core.ManifestPut{
			MediaType: ocispec.MediaTypeImageIndex, Bytes: indexOf(core.Descriptor{Digest: "sha256:../../etc/passwd"}),
		}, core.ErrManifestInvalid},
		{"a digest of an unknown algorithm", core.ManifestPut{
			MediaType: ocispec.MediaTypeImageIndex, Bytes: indexOf(core.Descriptor{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"}),
		}, core.ErrManifestInvalid},
		{"a negative size", core.ManifestPut{
			MediaType: ocispec.MediaTypeImageIndex, Bytes: indexOf(core.Descriptor{Digest: absentDigest("x"), Size: -1}),
		}, core.ErrManifestInvalid},
		{"another digest than the client says", core.ManifestPut{
			MediaType: ocispec.MediaTypeImageManifest, Bytes: image, Digest: absentDigest("other"),
		}, core.ErrDigestInvalid},
		{"larger than the limit", core.ManifestPut{
			MediaType: "application/vnd.example+json", Bytes: []byte(`{"x":"` + strings.Repeat("y", core.MaxManifestSize) + `"}`),
		}, core.ErrManifestTooLarge},
	} {
		row.put.Tags = []string{"bad"}
		_, err := f.fill.PutManifest(t.Context(), repo, row.put)
		wantError(t, row.name, err, row.want)
		f.wantNoManifest(repo, tagged("bad"))
	}
}

func createOnly(t *testing.T, f *fixture) {
	const repo = "team/create"
	one, two := f.image(repo, "one"), f.image(repo, "two")
	create := func(m core.Manifest, tags ...string) (core.ManifestResult, error) {
		return f.fill.PutManifest(t.Context(), repo, core.ManifestPut{
			MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: tags, CreateOnly: true,
		})
	}
	if result, err := create(one, "v1"); err != nil || !slices.Equal(result.Tags, []string{"v1"}) {
		t.Fatalf("first push: got tags %v and error %v, want v1", result.Tags, err)
	}
	// A CI job that runs twice has overwritten nothing.
	if result, err := create(one, "v1"); err != nil || !slices.Equal(result.Tags, []string{"v1"}) {
		t.Errorf("the same digest again: got tags %v and error %v, want v1", result.Tags, err)
	}
	_, err := create(two, "v1")
	wantError(t, "another digest", err, core.ErrTagExists)
	if detail := string(encode(core.Detail(err))); !strings.Contains(detail, string(one.Descriptor.Digest)) {
		t.Errorf("detail %s: does not name the digest that the tag has", detail)
	}
	f.wantManifest(repo, tagged("v1"), one)

	result, err := create(two, "v0", "v1", "v2")
	if err != nil || !slices.Equal(result.Tags, []string{"v0", "v2"}) || len(result.Refused) != 1 {
		t.Errorf("some tags exist: got tags %v, refused %v and error %v, want v0 and v2 set, v1 refused", result.Tags, result.Refused, err)
	} else {
		wantError(t, "the refused tag", result.Refused[0], core.ErrTagExists)
	}
	f.wantManifest(repo, tagged("v1"), one)
	f.wantManifest(repo, tagged("v2"), two)

	// An overwrite returns the previous digest.
	held := two.Descriptor.Digest
	again, err := f.fill.PutManifest(t.Context(), repo, core.ManifestPut{
		MediaType: one.Descriptor.MediaType, Bytes: one.Bytes, Tags: []string{"v1", "v2", "v3"},
	})
	if want := []digest.Digest{one.Descriptor.Digest, held, ""}; err != nil || !slices.Equal(again.Before, want) {
		t.Errorf("overwrite: got %v as before and error %v, want %v", again.Before, err, want)
	}

	three := imageOf(f.config(repo, "three"))
	_, err = create(core.Manifest{Descriptor: core.Descriptor{MediaType: ocispec.MediaTypeImageManifest}, Bytes: three}, "v1", "v2")
	wantError(t, "all tags exist", err, core.ErrTagExists)
	if _, err := f.reg.Resolve(t.Context(), repo, digested(digest.FromBytes(three))); err != nil {
		t.Errorf("a manifest none of whose tags was set: %v, want it kept", err)
	}
}

// movedFrom moves a tag only from where the caller saw it.
func movedFrom(t *testing.T, f *fixture) {
	const repo = "team/from"
	one, two := f.image(repo, "one", "v1"), f.image(repo, "two")
	move := func(to core.Manifest, tag string, from digest.Digest) error {
		_, err := f.fill.PutManifest(t.Context(), repo, core.ManifestPut{
			MediaType: to.Descriptor.MediaType, Bytes: to.Bytes, Tags: []string{tag}, From: from,
		})
		return err
	}
	wantError(t, "a tag that names something else", move(two, "v1", two.Descriptor.Digest), core.ErrChanged)
	wantError(t, "a tag that does not exist", move(two, "v2", one.Descriptor.Digest), core.ErrChanged)
	f.wantManifest(repo, tagged("v1"), one)
	f.wantNoManifest(repo, tagged("v2"))
	if err := move(two, "v1", one.Descriptor.Digest); err != nil {
		t.Errorf("a tag that names what it did: %v", err)
	}
	f.wantManifest(repo, tagged("v1"), two)
}

func mounts(t *testing.T, f *fixture) {
	const data = "shared layer"
	held := f.blob("team/from", data)
	for _, row := range []struct{ name, repo, from string }{
		{"from a repository", "team/to", "team/from"},
		{"again", "team/to", "team/from"},
		{"from itself", "team/from", "team/from"},
		{"from any", "team/any", ""},
		{"from where it was mounted", "team/third", "team/to"},
	} {
		desc, err := f.fill.Mount(t.Context(), row.repo, row.from, held.Digest)
		if err != nil || desc.Digest != held.Digest || desc.Size != int64(len(data)) {
			t.Errorf("%s: got %v and error %v, want %s", row.name, desc, err, held.Digest)
		}
		f.wantBlob(row.repo, held.Digest, data)
	}
	for _, row := range []struct {
		name, from string
		digest     digest.Digest
	}{
		{"from a repository that does not hold it", "team/empty", held.Digest},
		{"of what nobody holds", "", absentDigest("mounted")},
		{"of what the repository does not hold", "team/from", absentDigest("mounted")},
	} {
		_, err := f.fill.Mount(t.Context(), "team/none", row.from, row.digest)
		wantError(t, row.name, err, core.ErrBlobUnknown)
		f.wantNoBlob("team/none", row.digest)
	}
}
