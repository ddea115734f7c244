package store_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// TestStoreIsItsModel plays random sequences of everything that can be asked of a
// store, and after each step compares all that the store shows with a model that
// fits on a page.
func TestStoreIsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(rt)
		defer m.close(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"": m.compare, "upload": m.upload, "stat": m.stat, "mount": m.mount, "image": m.image, "index": m.index,
			"delete tag": m.deleteTag, "delete manifest": m.deleteManifest, "delete blob": m.deleteBlob,
			"wait": m.wait, "collect": m.collect, "restart": m.restart, "rebuild": m.rebuild,
		})
	})
}

// modelRepo is the model of a repository.
type modelRepo struct {
	blobs     map[digest.Digest]bool
	manifests map[digest.Digest]modelManifest
	tags      map[string]digest.Digest
	// touched is when a client last pushed content, got the answer that it exists, or named it.
	touched map[digest.Digest]time.Time
	// left is when a tag last ceased to name a manifest.
	left map[digest.Digest]time.Time
}

type modelManifest struct {
	blobs, children []digest.Digest
}

// The small space in which sequences meet each other often.
var (
	modelRepos = []string{"a", "a/b", "c"}
	modelTags  = []string{"v1", "V1", "latest"}
	modelBlobs = []string{"config", "one", "two"}
)

type machine struct {
	world *world
	path  string // of the index
	// catalog is the index, whose rows are compared too.
	catalog *index.Index
	repos   map[string]*modelRepo
}

func newMachine(t *rapid.T) *machine {
	folder, err := os.MkdirTemp("", "model")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{path: filepath.Join(folder, "private.db"), repos: map[string]*modelRepo{}}
	for _, name := range modelRepos {
		m.repos[name] = &modelRepo{
			blobs: map[digest.Digest]bool{}, manifests: map[digest.Digest]modelManifest{},
			tags: map[string]digest.Digest{}, touched: map[digest.Digest]time.Time{}, left: map[digest.Digest]time.Time{},
		}
	}
	if m.world, err = newWorld(); err != nil {
		t.Fatal(err)
	}
	m.reopen(t)
	return m
}

func (m *machine) close(t *rapid.T) {
	if err := errors.Join(m.world.Close(), os.RemoveAll(filepath.Dir(m.path))); err != nil {
		t.Error(err)
	}
}

// pick draws a repository of the model.
func (m *machine) pick(t *rapid.T) (string, *modelRepo) {
	name := rapid.SampledFrom(modelRepos).Draw(t, "repository")
	return name, m.repos[name]
}

func (m *machine) touch(r *modelRepo, ds ...digest.Digest) {
	for _, d := range ds {
		r.touched[d] = m.world.now()
	}
}

// want ends the run unless err is want, or nil where want is.
func want(t rapid.TB, what string, err error, wants ...error) {
	t.Helper()
	for _, w := range wants {
		if w == nil && err == nil || w != nil && errors.Is(err, w) {
			return
		}
	}
	t.Fatalf("%s: got error %v, want one of %v", what, err, wants)
}

// known is nil when ok, else what a repository may say of content it has not.
func known(ok bool, missing error) []error {
	if ok {
		return []error{nil}
	}
	return []error{missing, core.ErrNameUnknown}
}

func (m *machine) upload(t *rapid.T) {
	name, r := m.pick(t)
	data := rapid.SampledFrom(modelBlobs).Draw(t, "blob")
	desc, err := m.world.upload(t.Context(), name, data)
	want(t, "upload", err, nil)
	r.blobs[desc.Digest] = true
	m.touch(r, desc.Digest)
}

func (m *machine) stat(t *rapid.T) {
	name, r := m.pick(t)
	d := digest.FromString(rapid.SampledFrom(modelBlobs).Draw(t, "blob"))
	_, err := m.world.Stat(pusher(t.Context()), name, d)
	want(t, "stat", err, known(r.blobs[d], core.ErrBlobUnknown)...)
	m.touch(r, d)
}

func (m *machine) mount(t *rapid.T) {
	name, r := m.pick(t)
	from := rapid.SampledFrom(append([]string{""}, modelRepos...)).Draw(t, "from")
	d := digest.FromString(rapid.SampledFrom(modelBlobs).Draw(t, "blob"))
	held := from != "" && m.repos[from].blobs[d]
	for _, other := range m.repos {
		held = held || from == "" && other.blobs[d]
	}
	_, err := m.world.Mount(t.Context(), name, from, d)
	if held {
		want(t, "mount", err, nil)
		r.blobs[d] = true
		m.touch(r, d)
	} else {
		want(t, "mount", err, core.ErrBlobUnknown)
	}
}

func (m *machine) image(t *rapid.T) {
	layer := rapid.SampledFrom(modelBlobs[1:]).Draw(t, "layer")
	blobs := []digest.Digest{digest.FromString("config"), digest.FromString(layer)}
	m.put(t, imageOf("config", layer), modelManifest{blobs: blobs})
}

// index puts an index, whose child need not be there.
func (m *machine) index(t *rapid.T) {
	child := imageOf("config", rapid.SampledFrom(modelBlobs[1:]).Draw(t, "child"))
	d := digest.FromBytes(child)
	m.put(t, marshalled(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(child))},
	}}), modelManifest{children: []digest.Digest{d}})
}

func (m *machine) put(t *rapid.T, data []byte, manifest modelManifest) {
	name, r := m.pick(t)
	tags := rapid.SliceOfNDistinct(rapid.SampledFrom(modelTags), 0, len(modelTags), rapid.ID).Draw(t, "tags")
	createOnly := rapid.Bool().Draw(t, "create only")
	d := digest.FromBytes(data)
	err := m.world.put(t.Context(), name, data, createOnly, tags...)
	m.touch(r, manifest.children...)
	m.touch(r, manifest.blobs...)
	for _, blob := range manifest.blobs {
		if !r.blobs[blob] {
			want(t, "put without its blobs", err, core.ErrManifestBlobUnknown)
			return
		}
	}
	r.manifests[d] = manifest
	m.touch(r, d)
	refused := 0
	for _, tag := range tags {
		if held, ok := r.tags[tag]; ok && held != d && createOnly {
			refused++
		} else {
			if ok && held != d {
				r.left[held] = m.world.now()
			}
			r.tags[tag] = d
		}
	}
	if refused > 0 && refused == len(tags) {
		want(t, "put of tags that exist", err, core.ErrTagExists)
	} else {
		want(t, "put", err, nil)
	}
}

func (m *machine) deleteTag(t *rapid.T) {
	name, r := m.pick(t)
	tag := rapid.SampledFrom(modelTags).Draw(t, "tag")
	held, ok := r.tags[tag]
	if ok {
		r.left[held] = m.world.now()
	}
	want(t, "delete tag", m.world.DeleteTag(t.Context(), name, tag), known(ok, core.ErrManifestUnknown)...)
	delete(r.tags, tag)
}

func (m *machine) deleteManifest(t *rapid.T) {
	name, r := m.pick(t)
	d := imageDigest(rapid.SampledFrom(modelBlobs[1:]).Draw(t, "image"))
	if held := slices.Sorted(maps.Keys(r.manifests)); len(held) > 0 {
		d = rapid.SampledFrom(held).Draw(t, "manifest")
	}
	_, ok := r.manifests[d]
	want(t, "delete manifest", m.world.DeleteManifest(t.Context(), name, d), known(ok, core.ErrManifestUnknown)...)
	delete(r.manifests, d)
	maps.DeleteFunc(r.tags, func(_ string, held digest.Digest) bool { return held == d })
}

func (m *machine) deleteBlob(t *rapid.T) {
	name, r := m.pick(t)
	d := digest.FromString(rapid.SampledFrom(modelBlobs).Draw(t, "blob"))
	err := m.world.DeleteBlob(t.Context(), name, d)
	if r.blobs[d] && r.needs(d) {
		want(t, "delete of a blob in use", err, core.ErrBlobInUse)
		return
	}
	want(t, "delete blob", err, known(r.blobs[d], core.ErrBlobUnknown)...)
	delete(r.blobs, d)
}

// needs reports whether a manifest names the blob.
func (r *modelRepo) needs(d digest.Digest) bool {
	for _, manifest := range r.manifests {
		if slices.Contains(manifest.blobs, d) {
			return true
		}
	}
	return false
}

func (m *machine) wait(t *rapid.T) {
	m.world.clock.Add(60 * rapid.Int64Range(10, 90).Draw(t, "minutes"))
}

// collect is the collector's whole promise: it keeps what a tag reaches, or did
// until a moment ago, and what was touched within the grace, and nothing else.
func (m *machine) collect(t *rapid.T) {
	want(t, "collect", m.world.collect(t.Context()), nil)
	since, untagged := m.world.now().Add(-m.world.collecting().Settings.Grace), m.world.now().Add(-m.world.collecting().Settings.Untagged)
	for _, r := range m.repos {
		kept := map[digest.Digest]bool{}
		var keep func(d digest.Digest)
		keep = func(d digest.Digest) {
			if manifest, ok := r.manifests[d]; ok && !kept[d] {
				kept[d] = true
				for _, child := range manifest.children {
					keep(child)
				}
			}
		}
		for _, d := range r.tags {
			keep(d)
		}
		for d := range r.manifests {
			if r.touched[d].After(since) || r.left[d].After(untagged) {
				keep(d)
			}
		}
		maps.DeleteFunc(r.manifests, func(d digest.Digest, _ modelManifest) bool { return !kept[d] })
		maps.DeleteFunc(r.blobs, func(d digest.Digest, _ bool) bool { return !r.needs(d) && !r.touched[d].After(since) })
	}
}

// restart ends the process, cleanly or not: a crash leaves no index.
func (m *machine) restart(t *rapid.T) {
	killed := m.world.memory.killed()
	m.reopen(t)
	if rapid.Bool().Draw(t, "unclean") {
		want(t, "close", m.world.Close(), nil)
		want(t, "lose the index", os.Remove(m.path), nil, os.ErrNotExist)
		m.world.memory = killed
		m.open(t)
	}
}

func (m *machine) reopen(t *rapid.T) {
	want(t, "close", m.world.Close(), nil)
	m.open(t)
}

func (m *machine) open(t *rapid.T) {
	config := m.world.collecting()
	x, err := index.ForStore(m.path, slog.New(slog.DiscardHandler))
	want(t, "open the index", err, nil)
	config.Names, config.Projection, m.catalog = x, x, x
	s, err := store.Open(context.Background(), m.world.memory, config)
	want(t, "open", err, nil)
	m.world.Store = s
	for _, r := range m.repos { // earlier answers to clients are not remembered
		for d := range r.blobs {
			m.touch(r, d)
		}
		for d := range r.manifests {
			m.touch(r, d)
		}
	}
}

// compare looks at everything that the store shows.
func (m *machine) compare(t *rapid.T) {
	ctx := t.Context()
	var names []string
	for _, name := range modelRepos {
		r := m.repos[name]
		if len(r.manifests) > 0 {
			names = append(names, name)
		}
		m.compareLists(t, name, r)
		for _, data := range modelBlobs {
			d := digest.FromString(data)
			if got := readable(ctx, m.world, name, d) == nil; got != r.blobs[d] {
				t.Errorf("blob %s of %s: readable is %v, want %v", data, name, got, r.blobs[d])
			}
		}
		for d := range r.manifests {
			want(t, "manifest "+string(d)+" of "+name, holds(ctx, m.world, name, core.Reference{Digest: d}), nil)
		}
		for _, layer := range modelBlobs[1:] {
			if _, ok := r.manifests[imageDigest(layer)]; !ok {
				_, err := m.world.Resolve(ctx, name, core.Reference{Digest: imageDigest(layer)})
				want(t, "image "+layer+" of "+name, err, core.ErrManifestUnknown, core.ErrNameUnknown)
			}
		}
	}
	var got []string
	for name, err := range m.world.Repositories(ctx, "") {
		want(t, "repositories", err, nil)
		got = append(got, name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("repositories: got %v, want %v", got, names)
	}
	m.compareCatalog(t)
}

// compareLists looks at the tags of a repository and at what they name.
func (m *machine) compareLists(t *rapid.T, name string, r *modelRepo) {
	var tags []string
	for tag, err := range m.world.Tags(t.Context(), name, "") {
		if err != nil {
			want(t, "tags of "+name, err, core.ErrNameUnknown)
			if len(r.manifests) > 0 {
				t.Errorf("tags of %s: %v, though it holds %d manifests", name, err, len(r.manifests))
			}
			break
		}
		tags = append(tags, tag)
	}
	if sorted := slices.Sorted(maps.Keys(r.tags)); !slices.Equal(tags, sorted) {
		t.Errorf("tags of %s: got %v, want %v", name, tags, sorted)
	}
	for tag, d := range r.tags {
		desc, err := m.world.Resolve(t.Context(), name, core.Reference{Tag: tag})
		if err != nil || desc.Digest != d {
			t.Errorf("%s:%s: got %s and error %v, want %s", name, tag, desc.Digest, err, d)
		}
	}
}
