package deletion_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/deletion"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/policies"
)

const repo = "team/app"

// registry is a store whose clock a test moves.
type registry struct {
	*testing.T
	*store.Store
	bucket *dir.Bucket
	later  atomic.Int64 // than now, in hours
	index  *swayed
}

// swayed is an index that can be begun anew.
type swayed struct {
	*index.Index
	anew atomic.Bool
}

func (s *swayed) Whole() bool { return s.Index.Whole() && !s.anew.Load() }

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{T: t}
	storage, err := dir.Open(t.TempDir(), dir.Config{Sync: func(*os.File) error { return nil }})
	r.must(err)
	t.Cleanup(func() { storage.Close() })
	r.bucket, err = storage.Bucket("tree")
	r.must(err)
	x, err := index.ForStore(filepath.Join(t.TempDir(), "index.db"), slog.New(slog.DiscardHandler))
	r.must(err)
	r.index = &swayed{Index: x}
	r.Store, err = store.Open(t.Context(), r.bucket, store.Config{
		Names: x, Projection: r.index, Settings: store.Settings{Grace: time.Hour, Untagged: store.KeepUntagged, UploadAge: time.Hour},
		Now: func() time.Time { return time.Now().Add(time.Duration(r.later.Load()) * time.Hour) },
	})
	r.must(err)
	t.Cleanup(func() { r.Store.Close() })
	for until := time.Now().Add(time.Minute); !x.Whole(); runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatal("the catalog is not whole")
		}
	}
	return r
}

func (r *registry) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *registry) blob(repo, content string) core.Descriptor {
	r.Helper()
	up, err := r.NewUpload(r.Context(), repo, digest.SHA256)
	r.must(err)
	defer up.Close()
	_, err = up.Append(r.Context(), 0, strings.NewReader(content))
	r.must(err)
	_, err = up.Commit(r.Context(), digest.FromString(content))
	r.must(err)
	return core.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(content), Size: int64(len(content))}
}

func (r *registry) put(repo, mediaType string, manifest any, tags ...string) core.Descriptor {
	r.Helper()
	data, err := json.Marshal(manifest)
	r.must(err)
	put, err := r.PutManifest(r.Context(), repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: tags})
	r.must(err)
	return put.Descriptor
}

// image pushes an image with layers, or an artifact that refers to a subject.
func (r *registry) image(repo string, subject *core.Descriptor, layers []string, tags ...string) core.Descriptor {
	r.Helper()
	config := r.blob(repo, "{}")
	config.MediaType = ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Subject: subject}
	if subject != nil {
		m.ArtifactType = "application/vnd.example.sbom"
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, r.blob(repo, layer))
	}
	return r.put(repo, m.MediaType, m, tags...)
}

func (r *registry) indexOf(images []core.Descriptor, tags ...string) core.Descriptor {
	r.Helper()
	for i, architecture := range []string{"amd64", "arm64", "s390x"}[:len(images)] {
		images[i].Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
	}
	return r.put(repo, ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: images}, tags...)
}

// objects are the sizes of the content that is on the disk, and the names of what repositories hold.
func (r *registry) objects() (bytes int64, held map[string]bool) {
	r.Helper()
	held = map[string]bool{}
	for info, err := range r.bucket.List(r.Context(), "", "") {
		r.must(err)
		switch {
		case strings.HasPrefix(info.Key, "blobs/") && !strings.Contains(info.Key, "+"):
			bytes += info.Size
		case strings.HasPrefix(info.Key, "manifests/"), strings.Contains(info.Key, "/_tags/"):
			held[info.Key] = true
		}
	}
	return bytes, held
}

// collect runs the collector when every grace is over.
func (r *registry) collect() {
	r.Helper()
	r.later.Add(2)
	_, err := r.Collect(r.Context(), store.CollectOptions{})
	r.must(err)
}

func noMirror(string) string { return "" }

func (r *registry) plan(chosen ...core.Descriptor) *deletion.Plan {
	r.Helper()
	var digests []digest.Digest
	for _, one := range chosen {
		digests = append(digests, one.Digest)
	}
	p, err := deletion.Of(r.Context(), r, repo, digests, noMirror)
	r.must(err)
	return p
}

func digestsOf(images []*deletion.Image) (all []digest.Digest) {
	for _, image := range images {
		all = append(all, image.Digest)
	}
	return all
}

func wantDigests(t *testing.T, what string, got []digest.Digest, want ...core.Descriptor) {
	t.Helper()
	var all []digest.Digest
	for _, one := range want {
		all = append(all, one.Digest)
	}
	slices.Sort(all)
	got = slices.Clone(got)
	if slices.Sort(got); !slices.Equal(got, all) {
		t.Errorf("%s: got %v, want %v", what, got, all)
	}
}

// A plan says exactly what is gone afterwards, to the byte: with an index that shares a platform with
// another, a chain of referrers, a tagged one, and layers that other images and repositories have.
func TestAPlanIsWhatGoes(t *testing.T) {
	r := newRegistry(t)
	base, common := strings.Repeat("base", 1000), strings.Repeat("common", 100)
	r.image("other/app", nil, []string{base, "only of the other"}, "v1")
	amd := r.image(repo, nil, []string{base, common, "amd64 of one"})
	shared := r.image(repo, nil, []string{base, common, "arm64 of both"})
	alone := r.image(repo, nil, []string{common, "s390x of one"})
	other := r.indexOf([]core.Descriptor{shared}, "v2")
	chosen := r.indexOf([]core.Descriptor{amd, shared, alone}, "v1", "latest")
	sbom := r.image(repo, &chosen, []string{"sbom of one"})
	signature := r.image(repo, &sbom, []string{"signature of the sbom"})
	ofPlatform := r.image(repo, &amd, []string{"sbom of amd64"})
	ofShared := r.image(repo, &shared, []string{"sbom of arm64"})
	tagged := r.image(repo, &chosen, []string{"tagged sbom"}, "sbom")
	keeps := r.image(repo, &alone, []string{"tagged signature"}, "signature")
	r.collect() // what is left over before is not counted
	before, held := r.objects()

	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen, amd, sbom, signature, ofPlatform)
	wantDigests(t, "stays", digestsOf(p.Stays), shared, ofShared, tagged, alone, keeps)
	if got := p.Tags(); !slices.Equal(got, []string{"latest", "v1"}) {
		t.Errorf("got the tags %q", got)
	}
	if p.Goes[0].Digest != chosen.Digest || p.AtMost || len(p.Within) != 0 {
		t.Errorf("got first %s, at most %v, within %v", p.Goes[0].Digest, p.AtMost, p.Within)
	}
	for _, image := range p.Goes {
		if image.Digest == amd.Digest && (image.Platform != "linux/amd64" || image.Of != chosen.Digest || image.Part != deletion.Named) {
			t.Errorf("got the platform %+v", image)
		}
	}
	went, err := p.Delete(t.Context(), r)
	if err != nil || len(went) != 5 {
		t.Fatalf("deleted %d, %v", len(went), err)
	}
	if now, _ := r.objects(); now != before {
		t.Errorf("a deletion freed %d bytes by itself", before-now)
	}
	r.collect()
	after, left := r.objects()
	if before-after != p.Bytes {
		t.Errorf("%d bytes are gone, the plan said %d", before-after, p.Bytes)
	}
	gone := maps.Clone(held)
	maps.DeleteFunc(gone, func(key string, _ bool) bool { return left[key] })
	if len(gone) != 5+2 || len(left) != len(held)-7 {
		t.Errorf("gone are %v", slices.Sorted(maps.Keys(gone)))
	}
	for _, image := range p.Goes {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(gone)), func(key string) bool { return strings.Contains(key, image.Digest.Encoded()) }) {
			t.Errorf("%s is held", image.Digest)
		}
	}
	// The rest is whole.
	for _, d := range []core.Descriptor{other, shared, alone, tagged, keeps, ofShared} {
		if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: d.Digest}); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
	for _, content := range []string{base, common, "arm64 of both", "s390x of one", "tagged sbom", "{}"} {
		if _, err := r.Stat(t.Context(), repo, digest.FromString(content)); err != nil {
			t.Errorf("%.20s: %v", content, err)
		}
	}
}

// Under random images the plan's bytes are those that the collector frees.
func TestBytesOfRandomPlans(t *testing.T) {
	for seed := range 6 {
		r := newRegistry(t)
		var all []core.Descriptor
		for i := range 12 {
			in := repo
			if i%5 == 4 {
				in = "other/app"
			}
			layers := []string{strings.Repeat("x", 10+(i*7+seed)%5), strings.Repeat("y", 100+(i*3+seed*5)%4)}
			var subject *core.Descriptor
			if len(all) > 0 && (i+seed)%4 == 3 {
				subject = &all[(i*seed)%len(all)]
			}
			d := r.image(in, subject, layers, []string{fmt.Sprint("v", i%7)}[:i%2]...)
			if in == repo {
				all = append(all, d)
			}
		}
		r.collect()
		before, _ := r.objects()
		p := r.plan(all[seed%len(all)], all[(seed*3+1)%len(all)])
		if _, err := p.Delete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r.collect()
		if after, _ := r.objects(); before-after != p.Bytes {
			t.Errorf("seed %d: %d bytes are gone, the plan said %d", seed, before-after, p.Bytes)
		}
	}
}

// Images that change after a plan was made are not deleted.
func TestWhatChangedMeanwhileStays(t *testing.T) {
	r := newRegistry(t)
	child := r.image(repo, nil, []string{"one"})
	root := r.indexOf([]core.Descriptor{child}, "v1")
	p := r.plan(root)
	if again := r.plan(root); again.Key() != p.Key() {
		t.Error("the same plan has another key")
	}
	r.put(repo, ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{child}}, "v2")
	// The new index is another one: it has no platforms.
	if again := r.plan(root); again.Key() == p.Key() {
		t.Error("a plan that removes less has the same key")
	}
	went, err := p.Delete(t.Context(), r)
	if len(went) != 1 || !errors.Is(err, core.ErrChanged) {
		t.Errorf("deleted %d, %v", len(went), err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Digest: child.Digest}); err != nil {
		t.Errorf("the platform that another index has: %v", err)
	}
	signed := r.image(repo, nil, []string{"signed"}, "v5")
	signature := r.image(repo, &signed, []string{"signature"})
	p = r.plan(signed)
	r.indexOf([]core.Descriptor{signature}, "v6")
	if went, err := p.Delete(t.Context(), r); len(went) != 1 || !errors.Is(err, core.ErrChanged) {
		t.Errorf("a signature that an index has now: deleted %d, %v", len(went), err)
	}
	two := r.image(repo, nil, []string{"two"}, "v3")
	p = r.plan(two)
	r.image(repo, nil, []string{"two"}, "v4")
	if went, err := p.Delete(t.Context(), r); len(went) != 0 || !errors.Is(err, core.ErrChanged) {
		t.Errorf("an image with a new tag: deleted %d, %v", len(went), err)
	}
}

func TestAPlanIsBounded(t *testing.T) {
	r := newRegistry(t)
	var chosen []core.Descriptor
	for i := range deletion.MaxChosen + 1 {
		chosen = append(chosen, core.Descriptor{Digest: digest.FromString(fmt.Sprint(i))})
	}
	digests := make([]digest.Digest, len(chosen))
	if _, err := deletion.Of(t.Context(), r, repo, digests, noMirror); !errors.Is(err, deletion.ErrTooMany) {
		t.Errorf("got %v", err)
	}
	if _, err := deletion.Of(t.Context(), r, repo, []digest.Digest{chosen[0].Digest}, noMirror); !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrNameUnknown) {
		t.Errorf("of what is not held: got %v", err)
	}
}

// everybody may do everything but see all repositories.
type here struct{}

func (here) Allows(_ policies.Identity, _ policies.Action, name string) bool { return name == repo }

// A caller who may not read every repository learns nothing about them by the bytes.
func TestBytesTellNothingAboutOtherRepositories(t *testing.T) {
	var got []int64
	for _, elsewhere := range []bool{false, true} {
		r := newRegistry(t)
		d := r.image(repo, nil, []string{"layer"}, "v1")
		if elsewhere {
			r.image("secret/app", nil, []string{"layer"}, "v1")
		}
		p, err := deletion.Of(t.Context(), policies.Guard(r, here{}, policies.Identity{User: "ada"}), repo, []digest.Digest{d.Digest}, noMirror)
		r.must(err)
		if !p.AtMost {
			t.Error("the sum is said to be exact")
		}
		got = append(got, p.Bytes)
	}
	if got[0] != got[1] || got[0] == 0 {
		t.Errorf("got %v", got)
	}
}

func TestEmptyARepository(t *testing.T) {
	r := newRegistry(t)
	begun, far := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for i := range 7 {
		data, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: r.blob(repo, fmt.Sprint(i))})
		r.must(err)
		_, err = r.PutManifest(t.Context(), repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data,
			Tags: []string{fmt.Sprint("v", i)}, Import: &core.Import{Pushed: begun.Add(-time.Duration(i) * time.Minute)}})
		r.must(err)
	}
	kept := r.image(repo, nil, []string{"pushed meanwhile"}, "new")
	done, more, err := deletion.Empty(t.Context(), r, repo, begun, 3, far)
	if done != 3 || !more || err != nil {
		t.Errorf("first: got %d, %v, %v", done, more, err)
	}
	done, more, err = deletion.Empty(t.Context(), r, repo, begun, 100, time.Now().Add(-time.Second))
	if done != 0 || !more || err != nil {
		t.Errorf("without time: got %d, %v, %v", done, more, err)
	}
	done, more, err = deletion.Empty(t.Context(), r, repo, begun, 100, far)
	if done != 4 || more || err != nil {
		t.Errorf("second: got %d, %v, %v", done, more, err)
	}
	if _, err := r.Manifest(t.Context(), repo, core.Reference{Tag: "new"}); err != nil {
		t.Errorf("%s, pushed meanwhile: %v", kept.Digest, err)
	}
	done, more, err = deletion.Empty(t.Context(), r, repo, far, 100, far)
	if done != 1 || more || err != nil {
		t.Errorf("the last one: got %d, %v, %v", done, more, err)
	}
	if _, err := r.RepositoryRow(t.Context(), repo); !errors.Is(err, core.ErrNameUnknown) {
		t.Errorf("the repository: got %v", err)
	}
}
