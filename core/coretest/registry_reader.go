package coretest

import (
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// Reader is the contract of core.Reader.
func Reader(t *testing.T, open Open) {
	t.Run("manifests are kept byte for byte", func(t *testing.T) {
		subject, fill := open(t)
		readBack(&fixture{TB: t, reg: subject, fill: fill})
	})
	run(t, open, []clause{
		{"unknown things are unknown", func(t *testing.T, f *fixture) {
			f.wantNoManifest("nobody/here", tagged("latest"))
			f.wantNoBlob("nobody/here", absentDigest("blob"))
			f.image("some/here", "one", "v1")
			_, err := f.reg.Manifest(t.Context(), "some/here", tagged("v2"))
			wantError(t, "unknown tag", err, core.ErrManifestUnknown)
			_, err = f.reg.Manifest(t.Context(), "some/here", digested(absentDigest("manifest")))
			wantError(t, "unknown digest", err, core.ErrManifestUnknown)
			_, err = f.reg.Stat(t.Context(), "some/here", absentDigest("blob"))
			wantError(t, "unknown blob", err, core.ErrBlobUnknown)
		}},
		{"a blob is whole and seekable where it says so", func(t *testing.T, f *fixture) {
			const data = "0123456789abcdef"
			desc := f.blob("team/blobs", data)
			f.wantBlob("team/blobs", desc.Digest, data)
			stat, err := f.reg.Stat(t.Context(), "team/blobs", desc.Digest)
			if err != nil || stat.Digest != desc.Digest || stat.Size != int64(len(data)) {
				t.Errorf("stat: got %v and error %v, want %s and %d bytes", stat, err, desc.Digest, len(data))
			}
			blob, err := f.reg.Blob(t.Context(), "team/blobs", desc.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer blob.Close()
			if d := blob.Descriptor(); d.Digest != desc.Digest || d.Size != -1 && d.Size != int64(len(data)) {
				t.Errorf("descriptor of the blob: got %v, want %s", d, desc.Digest)
			}
			wantSeek(t, blob, data)
		}},
		{"an empty blob is a blob", func(t *testing.T, f *fixture) {
			desc := f.blob("team/blobs", "")
			f.wantBlob("team/blobs", desc.Digest, "")
		}},
		{"sha512 addresses content like sha256", func(t *testing.T, f *fixture) {
			desc := upload(t, f.fill, "team/long", digest.SHA512, []byte("long digest"))
			f.wantBlob("team/long", desc.Digest, "long digest")
			f.wantNoBlob("team/long", digest.SHA256.FromString("long digest"))
			data := imageOf(f.config("team/long", "x"), desc)
			m := f.put("team/long", core.ManifestPut{
				MediaType: ocispec.MediaTypeImageManifest, Bytes: data, Digest: digest.SHA512.FromBytes(data), Tags: []string{"v1"},
			})
			if m.Descriptor.Digest.Algorithm() != digest.SHA512 {
				t.Errorf("digest of the manifest: got %s, want a sha512", m.Descriptor.Digest)
			}
			f.wantManifest("team/long", tagged("v1"), m)
			f.wantManifest("team/long", digested(m.Descriptor.Digest), m)
			f.wantNoManifest("team/long", digested(digest.SHA256.FromBytes(data)))
		}},
		{"knowing a digest is not enough to read", func(t *testing.T, f *fixture) {
			secret := f.blob("team/secret", "secret layer")
			m := f.image("team/secret", "secret", "v1")
			f.image("team/public", "public", "v1")
			for _, other := range []string{"team/public", "team", "team/secret/below", "team/secret2"} {
				f.wantNoBlob(other, secret.Digest)
				f.wantNoManifest(other, digested(m.Descriptor.Digest))
			}
		}},
		{"names that are near each other are apart", namesApart},
	})
}

// namesApart covers what a file system would mix up: a repository below another,
// the store's own words as components, capitals, and the longest legal names.
func namesApart(t *testing.T, f *fixture) {
	repos := []string{
		"a", "a/b", "a/b/c", "a-b", "a.b", "a_b", "a__b", "tags", "blobs/uploads", "manifests/sha256", "a/tags", "a/referrers",
		strings.Repeat("n", core.MaxNameLength), strings.Repeat("n/", core.MaxNameLength/2) + "n",
	}
	tags := []string{
		"latest", "Latest", "LATEST", "b", "_", "_tags", "a.b", "a-b", "v1.0-RC_1",
		strings.Repeat("t", core.MaxTagLength), strings.Repeat("T", core.MaxTagLength), strings.Repeat("tT", core.MaxTagLength/2),
	}
	held := map[string]core.Manifest{}
	for _, repo := range repos {
		for _, tag := range tags {
			held[repo+":"+tag] = f.put(repo, core.ManifestPut{
				MediaType: ocispec.MediaTypeImageIndex, Tags: []string{tag},
				Bytes: indexOf(core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(repo + ":" + tag), Size: 1}),
			})
		}
	}
	for _, repo := range repos {
		for _, tag := range tags {
			f.wantManifest(repo, tagged(tag), held[repo+":"+tag])
		}
	}
	f.wantNoManifest("a", tagged("lATEST"))
	f.wantNoManifest("a/b", tagged("c"))
}

// wantSeek reads from the middle, from the end and from the start again.
func wantSeek(t *testing.T, blob core.Blob, data string) {
	t.Helper()
	seeker, ok := blob.(io.Seeker)
	if !ok {
		return
	}
	for _, at := range []int{len(data) / 2, len(data), 0} {
		if _, err := seeker.Seek(int64(at), io.SeekStart); err != nil {
			t.Fatalf("seek to %d: %v", at, err)
		}
		if got, err := io.ReadAll(blob); err != nil || string(got) != data[at:] {
			t.Errorf("from %d: got %q and error %v, want %q", at, got, err, data[at:])
		}
	}
	if file, ok := blob.(core.FileBlob); ok {
		got := make([]byte, len(data))
		if _, err := file.File().ReadAt(got, 0); err != nil || string(got) != data {
			t.Errorf("file of the blob: got %q and error %v, want %q", got, err, data)
		}
	}
}

// readBack pushes manifests of every kind, spaced as no encoder would space them.
func readBack(f *fixture) {
	const repo = "team/kinds"
	config, layer := f.config(repo, "kinds"), f.blob(repo, "layer")
	child := core.Descriptor{MediaType: core.MediaTypeDockerManifest, Digest: absentDigest("child"), Size: 7}
	for _, row := range []struct {
		name, mediaType, body string
	}{
		{"OCI image manifest", ocispec.MediaTypeImageManifest, string(imageOf(config, layer))},
		{"OCI index whose children are not here", ocispec.MediaTypeImageIndex, string(indexOf(child))},
		{"OCI index of nothing", ocispec.MediaTypeImageIndex, string(indexOf())},
		// Docker's own indent with three spaces, and digests must not change.
		{"Docker schema 2", core.MediaTypeDockerManifest,
			"{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"" + core.MediaTypeDockerManifest + "\",\n   \"config\": " +
				string(encode(config)) + ",\n   \"layers\": [" + string(encode(layer)) + "]\n}"},
		{"Docker manifest list", core.MediaTypeDockerManifestList,
			`{"schemaVersion": 2, "mediaType": "` + core.MediaTypeDockerManifestList + `", "manifests": [` + string(encode(child)) + `]}`},
		{"manifest without a mediaType of its own", ocispec.MediaTypeImageManifest,
			`{"schemaVersion":2,"config":` + string(encode(config)) + `,"layers":[]}` + "\n\n"},
		{"artifact of a media type nobody knows", "application/vnd.example.thing+json", ` { "anything" : [ 1, null ] } `},
	} {
		m := f.put(repo, core.ManifestPut{MediaType: row.mediaType, Bytes: []byte(row.body), Tags: []string{"kind"}})
		if want := digest.FromString(row.body); m.Descriptor.Digest != want {
			f.Errorf("%s: got digest %s, want %s", row.name, m.Descriptor.Digest, want)
		}
		m.Descriptor.MediaType, m.Descriptor.Size = row.mediaType, int64(len(row.body))
		f.wantManifest(repo, tagged("kind"), m)
		f.wantManifest(repo, digested(m.Descriptor.Digest), m)
	}
}
