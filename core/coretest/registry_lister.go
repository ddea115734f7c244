package coretest

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// Lister is the contract of core.Lister.
func Lister(t *testing.T, open Open) {
	run(t, open, []clause{
		{"repositories are in byte order", func(t *testing.T, f *fixture) {
			f.wantRepositories("")
			// A walk over directories would put a/b before a-b and a.b.
			names := []string{"a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "b"}
			for _, name := range []string{"b", "a/b/c", "a_b", "a", "a/b", "a0", "a.b", "a-b"} {
				f.image(name, "any", "v1")
			}
			f.blob("only/blobs", "no manifest")
			f.wantRepositories("", names...)
			for i, name := range names {
				f.wantRepositories(name, names[i+1:]...)
			}
			f.wantRepositories("a.", names[2:]...)
			f.wantRepositories("zzz")
			wantStops(t, f.reg.Repositories(t.Context(), ""))
		}},
		{"tags are in byte order", func(t *testing.T, f *fixture) {
			const repo = "team/tags"
			_, err := collect(f.reg.Tags(t.Context(), repo, ""))
			wantError(t, "tags of an unknown repository", err, core.ErrNameUnknown)
			m := f.image(repo, "one")
			f.wantTags(repo)
			// Capitals come first in bytes; a disk that folds case mixes them.
			want := []string{"1.0", "1.10", "1.2", "A", "B", "Z" + strings.Repeat("z", core.MaxTagLength-1), "_", "a", "a-", "a.b", "aa", "b"}
			f.put(repo, core.ManifestPut{
				MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: slices.Concat(want[6:], want[:6]),
			})
			f.image(repo+"/below", "one", "not-mine")
			f.wantTags(repo, want...)
			for i, after := range want {
				got, err := collect(f.reg.Tags(t.Context(), repo, after))
				if err != nil || !slices.Equal(got, want[i+1:]) {
					t.Errorf("tags after %s: got %v and error %v, want %v", after, got, err, want[i+1:])
				}
			}
			if got, err := collect(f.reg.Tags(t.Context(), repo, "1.1")); err != nil || !slices.Equal(got, want[1:]) {
				t.Errorf("tags after one that is not there: got %v and error %v, want %v", got, err, want[1:])
			}
			wantStops(t, f.reg.Tags(t.Context(), repo, ""))
		}},
		{"referrers are in order of their digests", referrers},
		{"holders are the repositories with the blob", func(t *testing.T, f *fixture) {
			layer := f.blob("b/two", "held")
			f.blob("a/one", "held")
			if _, err := f.fill.Mount(t.Context(), "a-c", "a/one", layer.Digest); err != nil {
				t.Fatal(err)
			}
			f.blob("a/none", "something else")
			got, err := collect(f.reg.Holders(t.Context(), layer.Digest))
			slices.Sort(got)
			if want := []string{"a-c", "a/one", "b/two"}; err != nil || !slices.Equal(got, want) {
				t.Errorf("holders: got %v and error %v, want %v", got, err, want)
			}
			if got, err := collect(f.reg.Holders(t.Context(), absentDigest("held"))); err != nil || len(got) != 0 {
				t.Errorf("holders of nothing: got %v and error %v, want none", got, err)
			}
		}},
	})
}

func referrers(t *testing.T, f *fixture) {
	const repo, sbom, signature = "team/refs", "application/vnd.example.sbom", "application/vnd.example.signature"
	f.wantReferrers(repo, absentDigest("subject"), "", "")
	// Artifacts may arrive before what they describe.
	data := imageOf(f.config(repo, "subject"))
	subject := core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
	sboms := []core.Manifest{
		f.referrer(repo, "1", sbom, subject), f.referrer(repo, "2", sbom, subject), f.referrer(repo, "3", sbom, subject),
	}
	f.put(repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data, Tags: []string{"v1"}})
	signed := f.referrer(repo, "4", signature, subject)
	// Without an artifactType the config's media type stands for it.
	config := f.blob(repo, "policy")
	config.MediaType = "application/vnd.example.policy"
	byConfig := f.put(repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: encode(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []core.Descriptor{}, Subject: &subject,
	})})
	index := f.put(repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: encode(ocispec.Index{
		MediaType: ocispec.MediaTypeImageIndex, ArtifactType: signature, Manifests: []core.Descriptor{}, Subject: &subject,
	})})
	f.referrer(repo, "5", sbom, core.Descriptor{MediaType: subject.MediaType, Digest: absentDigest("another"), Size: 1})
	f.referrer("team/other", "6", sbom, subject)

	f.wantReferrers(repo, subject.Digest, "", "", append(slices.Clone(sboms), signed, byConfig, index)...)
	f.wantReferrers(repo, subject.Digest, sbom, "", sboms...)
	f.wantReferrers(repo, subject.Digest, signature, "", signed, index)
	f.wantReferrers(repo, subject.Digest, config.MediaType, "", byConfig)
	f.wantReferrers(repo, subject.Digest, "application/vnd.example.none", "")
	sortByDigest(sboms)
	f.wantReferrers(repo, subject.Digest, sbom, sboms[0].Descriptor.Digest, sboms[1:]...)
	f.wantReferrers(repo, subject.Digest, sbom, sboms[2].Descriptor.Digest)

	for desc, err := range f.reg.Referrers(t.Context(), repo, subject.Digest, sbom, "") {
		if err != nil || desc.ArtifactType != sbom || desc.Annotations["seed"] == "" || desc.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("referrer: got %+v and error %v, want its artifact type, media type and annotations", desc, err)
		}
	}
	wantStops(t, f.reg.Referrers(t.Context(), repo, subject.Digest, "", ""))
}

// wantReferrers checks that exactly the manifests want are listed, in byte order.
func (f *fixture) wantReferrers(repo string, subject digest.Digest, artifactType string, after digest.Digest, want ...core.Manifest) {
	f.Helper()
	sortByDigest(want)
	got, err := collect(f.reg.Referrers(f.Context(), repo, subject, artifactType, after))
	if err != nil || len(got) != len(want) {
		f.Errorf("referrers of type %q after %q: got %v and error %v, want %d", artifactType, after, got, err, len(want))
		return
	}
	for i, m := range want {
		wantDescriptor(f, "referrer", got[i], m.Descriptor)
	}
}

func sortByDigest(ms []core.Manifest) {
	slices.SortFunc(ms, func(a, b core.Manifest) int {
		return strings.Compare(string(a.Descriptor.Digest), string(b.Descriptor.Digest))
	})
}

func (f *fixture) wantRepositories(after string, want ...string) {
	f.Helper()
	got, err := collect(f.reg.Repositories(f.Context(), after))
	if err != nil || !slices.Equal(got, want) {
		f.Errorf("repositories after %q: got %v and error %v, want %v", after, got, err, want)
	}
}

// wantStops checks that a page may end early, as every page does.
func wantStops[T any](t *testing.T, seq iter.Seq2[T, error]) {
	t.Helper()
	seen := 0
	for _, err := range seq {
		if err != nil {
			t.Errorf("first of a list: %v", err)
		}
		seen++
		break
	}
	if seen != 1 {
		t.Errorf("a list that is left after its first element: saw %d, want 1", seen)
	}
}
