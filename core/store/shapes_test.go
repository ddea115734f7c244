package store_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

type members = map[string]any

// document is a manifest that the test makes, with the names that the test put into it.
type document struct {
	shape, mediaType string
	data             []byte
	names            []digest.Digest
	subject          digest.Digest
}

func (d document) digest() digest.Digest { return digest.FromBytes(d.data) }

// materials are what a shape is made of: blobs that the repository holds, one that it need
// not hold, and manifests that it holds.
type materials struct {
	config, layer, other, optional string
	manifests                      []document // at least one
}

const (
	docker     = core.MediaTypeDockerManifest
	dockerList = core.MediaTypeDockerManifestList
	ociImage   = ocispec.MediaTypeImageManifest
	ociIndex   = ocispec.MediaTypeImageIndex
	foreign    = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	artifact   = "application/vnd.oci.artifact.manifest.v1+json"
	acme       = "application/vnd.acme.thing.v1+json"
)

// shapes are the documents that people's tools make. Each returns the document and its members
// that name content.
var shapes = map[string]func(m materials, n *naming) members{
	"image": func(m materials, n *naming) members {
		return n.image(ociImage, m.config, n.blob("application/x", m.layer), n.blob("application/y", m.other))
	},
	"image without its type": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config, n.blob("application/x", m.layer))
		delete(doc, "mediaType")
		return doc
	},
	"Docker image": func(m materials, n *naming) members {
		return n.image(docker, m.config, n.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", m.layer))
	},
	"Windows image with foreign layers": func(m materials, n *naming) members {
		return n.image(docker, m.config, n.blob(foreign, m.optional), n.blob("application/x", m.layer))
	},
	"layers that are not distributable": func(m materials, n *naming) members {
		return n.image(ociImage, m.config, n.blob("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", m.optional))
	},
	"no layers": func(m materials, n *naming) members { return n.image(ociImage, m.config) },
	"layers: null": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config)
		doc["layers"] = nil
		return doc
	},
	"one layer, often": func(m materials, n *naming) members {
		return n.image(ociImage, m.config, slices.Repeat([]any{n.blob("a/b", m.layer)}, 50)...)
	},
	"unknown members": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config, n.blob("application/x", m.layer))
		doc["extra"] = members{"a": []any{1, 2.5, nil, members{"b": true, "digest": "no digest"}}}
		return doc
	},
	"unknown members that name content": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config)
		doc["extra"] = []any{members{"of": n.blob("text/plain", m.optional)}}
		return doc
	},
	"ORAS artifact with embedded data": func(m materials, n *naming) members {
		layer := n.blob("application/vnd.oci.empty.v1+json", m.layer)
		layer["data"] = base64.StdEncoding.EncodeToString([]byte(m.layer))
		doc := n.image(ociImage, m.config, layer)
		doc["artifactType"] = "application/vnd.acme.rocket"
		return doc
	},
	"index": func(m materials, n *naming) members { return n.index(ociIndex, n.children(m)...) },
	"index without its type": func(m materials, n *naming) members {
		doc := n.index(ociIndex, n.children(m)...)
		delete(doc, "mediaType")
		return doc
	},
	"Docker list":  func(m materials, n *naming) members { return n.index(dockerList, n.children(m)...) },
	"sparse index": func(m materials, n *naming) members { return n.index(ociIndex, n.blob(ociImage, "never pushed")) },
	"empty index":  func(m materials, n *naming) members { return n.index(ociIndex) },
	"nested index": func(m materials, n *naming) members {
		return n.index(ociIndex, n.manifest(m.manifests[len(m.manifests)-1]))
	},
	"BuildKit cache": func(m materials, n *naming) members {
		return n.index(ociIndex, n.blob("application/vnd.oci.image.layer.v1.tar+gzip", m.layer), n.blob("application/vnd.buildkit.cacheconfig.v0", m.optional))
	},
	"BuildKit cache as a Docker list": func(m materials, n *naming) members {
		return n.index(dockerList, n.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", m.optional))
	},
	"BuildKit cache as an image": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config, n.blob("application/x", m.layer))
		return doc
	},
	"signature, a referrer": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config, n.blob("application/vnd.dev.sigstore.bundle.v0.3+json", m.layer))
		return n.of(doc, m.manifests[0])
	},
	"referrer of nothing": func(m materials, n *naming) members {
		doc := n.image(ociImage, m.config)
		doc["subject"] = n.blob(ociImage, "never pushed")
		return doc
	},
	"index that is a referrer": func(m materials, n *naming) members { return n.of(n.index(ociIndex, n.children(m)...), m.manifests[0]) },
	"withdrawn artifact manifest": func(m materials, n *naming) members {
		return n.of(members{"mediaType": artifact, "artifactType": "application/spdx+json", "blobs": []any{n.blob("application/spdx+json", m.layer)}}, m.manifests[0])
	},
	"artifact of an unknown kind": func(m materials, n *naming) members {
		return members{"mediaType": acme, "files": []any{n.blob("text/plain", m.optional)}}
	},
	"one that names deep down": func(m materials, n *naming) members {
		return members{"mediaType": acme, "parts": members{"a": []any{members{"data": n.blob("text/plain", m.optional)}, []any{members{"b": n.manifest(m.manifests[0])}}}}}
	},
	"one with members of Go's": func(m materials, n *naming) members {
		return members{"mediaType": acme, "Files": []any{members{"Digest": n.name(m.optional), "Size": 1}}}
	},
	"one that is an image, too": func(m materials, n *naming) members { return n.image(acme, m.config, n.blob("application/x", m.layer)) },
	"digests that are not named": func(m materials, n *naming) members {
		// Only the config is named: the optional blob is not, in any of the texts.
		d := string(digest.FromString(m.optional))
		doc := n.image(ociImage, m.config)
		doc["annotations"] = members{"digest": d, "vnd.docker.reference.digest": d}
		doc["extra"] = members{"texts": []any{d, "digest", d}, "json": `{"digest":"` + d + `"}`}
		return doc
	},
}

// naming makes descriptors, and notes what they name.
type naming struct {
	names   []digest.Digest
	subject digest.Digest
}

func (n *naming) name(content string) digest.Digest {
	d := digest.FromString(content)
	n.names = append(n.names, d)
	return d
}

func (n *naming) blob(mediaType, content string) members {
	return members{"mediaType": mediaType, "digest": n.name(content), "size": len(content)}
}

func (n *naming) manifest(m document) members { return n.blob(m.mediaType, string(m.data)) }

func (n *naming) children(m materials) (children []any) {
	for _, child := range m.manifests {
		children = append(children, n.manifest(child))
	}
	return children
}

func (n *naming) image(mediaType, config string, layers ...any) members {
	if layers == nil {
		layers = []any{}
	}
	return members{"schemaVersion": 2, "mediaType": mediaType, "config": n.blob("application/vnd.oci.image.config.v1+json", config), "layers": layers}
}

func (n *naming) index(mediaType string, manifests ...any) members {
	if manifests == nil {
		manifests = []any{}
	}
	return members{"schemaVersion": 2, "mediaType": mediaType, "manifests": manifests}
}

func (n *naming) of(doc members, subject document) members {
	doc["subject"] = n.manifest(subject)
	n.subject = subject.digest()
	return doc
}

// make builds a document of a shape.
func (m materials) make(shape string) document {
	n := &naming{}
	all := shapes[shape](m, n)
	mediaType, ok := all["mediaType"].(string)
	if !ok {
		mediaType = ociImage
		if all["manifests"] != nil {
			mediaType = ociIndex
		}
	}
	data, err := json.MarshalIndent(all, " ", "\t")
	if err != nil {
		panic(err) // the documents are this file's own
	}
	return document{shape, mediaType, data, n.names, n.subject}
}

// shaped is a repository as the test knows it.
type shaped struct {
	*world
	manifests map[digest.Digest]document
	blobs     map[digest.Digest]string
	tags      map[string]digest.Digest
}

func (s *shaped) upload(t *rapid.T, content string) {
	if _, err := s.world.upload(context.Background(), repo, content); err != nil {
		t.Fatalf("upload: %v", err)
	}
	s.blobs[digest.FromString(content)] = content
}

// push makes a document of any shape from new and old materials, and pushes it.
func (s *shaped) push(t *rapid.T) {
	content := func(what string) string { return fmt.Sprint(what, rapid.IntRange(0, 3).Draw(t, what)) }
	m := materials{config: content("config"), layer: content("layer"), other: content("other"), optional: content("optional")}
	for _, c := range []string{m.config, m.layer, m.other} {
		s.upload(t, c)
	}
	if rapid.Bool().Draw(t, "the optional blob is pushed") {
		s.upload(t, m.optional)
	}
	held := slices.Sorted(maps.Keys(s.manifests))
	if len(held) == 0 {
		m.manifests = []document{{"absent", ociImage, []byte("absent"), nil, ""}}
	} else {
		for range rapid.IntRange(1, 3).Draw(t, "children") {
			m.manifests = append(m.manifests, s.manifests[rapid.SampledFrom(held).Draw(t, "child")])
		}
	}
	doc := m.make(rapid.SampledFrom(slices.Sorted(maps.Keys(shapes))).Draw(t, "shape"))
	put := core.ManifestPut{MediaType: doc.mediaType, Bytes: doc.data}
	if tag := rapid.SampledFrom([]string{"", "", "v1", "v2", "v3", "v4", "v5"}).Draw(t, "tag"); tag != "" {
		put.Tags = []string{tag}
	}
	if _, err := s.PutManifest(context.Background(), repo, put); err != nil {
		t.Fatalf("push of %s: %v\n%s", doc.shape, err, doc.data)
	}
	s.manifests[doc.digest()] = doc
	for _, tag := range put.Tags {
		s.tags[tag] = doc.digest()
	}
}

// deleteBlob must succeed only for blobs that no manifest names.
func (s *shaped) deleteBlob(t *rapid.T) {
	if len(s.blobs) == 0 {
		t.Skip()
	}
	d := rapid.SampledFrom(slices.Sorted(maps.Keys(s.blobs))).Draw(t, "blob")
	var named error
	for _, m := range s.manifests {
		if slices.Contains(m.names, d) {
			named = core.ErrBlobInUse
		}
	}
	if err := s.DeleteBlob(context.Background(), repo, d); !errors.Is(err, named) {
		t.Fatalf("delete blob %q: got %v, want %v", s.blobs[d], err, named)
	}
	if named == nil {
		delete(s.blobs, d)
	}
}

func (s *shaped) deleteTag(t *rapid.T) {
	if len(s.tags) == 0 {
		t.Skip()
	}
	tag := rapid.SampledFrom(slices.Sorted(maps.Keys(s.tags))).Draw(t, "tag")
	if err := s.DeleteTag(context.Background(), repo, tag); err != nil {
		t.Fatalf("delete tag: %v", err)
	}
	delete(s.tags, tag)
}

func (s *shaped) deleteManifest(t *rapid.T) {
	if len(s.manifests) == 0 {
		t.Skip()
	}
	d := rapid.SampledFrom(slices.Sorted(maps.Keys(s.manifests))).Draw(t, "manifest")
	if err := s.DeleteManifest(context.Background(), repo, d); err != nil {
		t.Fatalf("delete manifest: %v", err)
	}
	delete(s.manifests, d)
	for tag, named := range s.tags {
		if named == d {
			delete(s.tags, tag)
		}
	}
}

// collect removes all that it may, and forgets what is gone then.
func (s *shaped) collect(t *rapid.T) {
	s.age()
	if err := s.world.collect(context.Background()); err != nil {
		t.Fatalf("collect: %v", err)
	}
	for d := range s.manifests {
		if _, err := s.Manifest(context.Background(), repo, core.Reference{Digest: d}); err != nil {
			delete(s.manifests, d)
		}
	}
	for d := range s.blobs {
		if err := readable(context.Background(), s, repo, d); err != nil {
			delete(s.blobs, d)
		}
	}
}

// tagged are the manifests that the tags reach, and the blobs that these name.
func (s *shaped) tagged() (manifests, blobs map[digest.Digest]string) {
	manifests, blobs = map[digest.Digest]string{}, map[digest.Digest]string{}
	var reach func(d digest.Digest)
	reach = func(d digest.Digest) {
		m, held := s.manifests[d]
		if _, seen := manifests[d]; seen || !held {
			return
		}
		manifests[d] = m.shape
		for _, named := range m.names {
			if content, ok := s.blobs[named]; ok {
				blobs[named] = content
			}
			reach(named)
		}
		for other, referrer := range s.manifests {
			if referrer.subject == d {
				reach(other)
			}
		}
	}
	for _, d := range s.tags {
		reach(d)
	}
	return manifests, blobs
}

// An image that was pullable and is still tagged stays pullable, whichever shape it has and
// whatever is deleted and collected beside it. Unneeded content is removed.
func TestTaggedContentStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := newWorld()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		s := &shaped{w, map[digest.Digest]document{}, map[digest.Digest]string{}, map[string]digest.Digest{}}
		check := func(t *rapid.T) {
			manifests, blobs := s.tagged()
			for tag, d := range s.tags {
				if desc, err := s.Resolve(context.Background(), repo, core.Reference{Tag: tag}); err != nil || desc.Digest != d {
					t.Fatalf("tag %s names %s (%v), want %s", tag, desc.Digest, err, d)
				}
			}
			for d, shape := range manifests {
				m, err := s.Manifest(context.Background(), repo, core.Reference{Digest: d})
				if want := s.manifests[d]; err != nil || string(m.Bytes) != string(want.data) || m.Descriptor.MediaType != want.mediaType {
					t.Fatalf("%s of a tag: served as %q, error %v, want %q", shape, m.Descriptor.MediaType, err, want.mediaType)
				}
			}
			for d, content := range blobs {
				if err := readable(context.Background(), s, repo, d); err != nil {
					t.Fatalf("blob %q of a tag: %v", content, err)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": s.push, "push again": s.push, "delete tag": s.deleteTag, "delete manifest": s.deleteManifest, "delete blob": s.deleteBlob,
			"collect": func(t *rapid.T) {
				manifests, blobs := s.tagged()
				s.collect(t)
				check(t) // before the next look forgets what is gone
				for d, shape := range manifests {
					if _, ok := s.manifests[d]; !ok {
						t.Fatalf("%s of a tag was collected", shape)
					}
				}
				for d, content := range blobs {
					if _, ok := s.blobs[d]; !ok {
						t.Fatalf("blob %q of a tag was collected", content)
					}
				}
				if len(s.manifests) != len(manifests) || len(s.blobs) != len(blobs) {
					t.Fatalf("%d manifests and %d blobs stay, want %d and %d: the rest is not needed", len(s.manifests), len(s.blobs), len(manifests), len(blobs))
				}
			},
			"": check,
		})
	})
}

// Each shape by itself: the collector leaves what a tagged manifest of it names, and DELETE
// refuses it; and both let go of it when the manifest has gone.
func TestEveryShapeKeepsWhatItNames(t *testing.T) {
	ctx := context.Background()
	m := materials{config: "config", layer: "layer", other: "other", optional: "optional"}
	m.manifests = []document{m.make("no layers")}
	for shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			w, err := newWorld()
			must(t, err)
			defer w.Close()
			for _, content := range []string{m.config, m.layer, m.other, m.optional} {
				_, err := w.upload(ctx, repo, content)
				must(t, err)
			}
			doc := m.make(shape)
			for _, push := range append(slices.Clone(m.manifests), doc) {
				_, err := w.PutManifest(ctx, repo, core.ManifestPut{MediaType: push.mediaType, Bytes: push.data, Tags: []string{"v1"}})
				must(t, err)
			}
			w.age()
			must(t, w.collect(ctx))
			for _, content := range []string{m.config, m.layer, m.other, m.optional} {
				d := digest.FromString(content)
				named := slices.Contains(doc.names, d)
				if slices.Contains(doc.names, m.manifests[0].digest()) {
					named = named || slices.Contains(m.manifests[0].names, d)
				}
				err := w.DeleteBlob(ctx, repo, d)
				switch {
				case named && !errors.Is(err, core.ErrBlobInUse):
					t.Errorf("delete %s: got %v, want %v", content, err, core.ErrBlobInUse)
				case !named && !errors.Is(err, core.ErrBlobUnknown):
					t.Errorf("delete %s, which nothing names: got %v, want %v", content, err, core.ErrBlobUnknown)
				}
			}
			must(t, w.DeleteTag(ctx, repo, "v1"))
			w.age()
			must(t, w.collect(ctx))
			for info, err := range w.Repositories(ctx, "") {
				t.Errorf("%s is there still (%v)", info, err)
			}
		})
	}
}

// Stored manifests may have been pushed under other rules, and today's rules for pushes are not
// applied to them: a document of two kinds at once, or with more descriptors than may be pushed,
// is served, keeps all that it names, and can be deleted.
func TestWhatIsHeldIsKeptWhateverItIs(t *testing.T) {
	ctx := context.Background()
	desc := func(content string) string { return string(marshalled(blobOf(content))) }
	held := map[string]string{
		"an index with config and layers": `{"mediaType":"` + ociIndex + `","manifests":[],"config":` + desc("config") + `,"layers":[` + desc("layer") + `]}`,
		"layers twice":                    `{"mediaType":"` + ociImage + `","config":` + desc("config") + `,"layers":[` + desc("layer") + `],"layers":[]}`,
		"layers in capitals":              `{"mediaType":"` + ociImage + `","config":` + desc("config") + `,"Layers":[` + desc("layer") + `]}`,
		"a malformed digest":              `{"mediaType":"` + ociImage + `","config":` + desc("config") + `,"layers":[` + desc("layer") + `,{"digest":"x"}]}`,
		"too many descriptors":            `{"mediaType":"` + ociImage + `","config":` + desc("config") + `,"layers":[` + strings.Repeat(desc("absent")+",", core.MaxDescriptors) + desc("layer") + `]}`,
	}
	for name, body := range held {
		t.Run(name, func(t *testing.T) {
			data := []byte(body)
			path := t.TempDir()
			put := core.ManifestPut{MediaType: ociImage, Bytes: data, Tags: []string{"v1"}}
			// A sparse store takes it, as the version before did everywhere.
			r := open(t, path, store.Config{Sparse: true})
			r.blob(t, repo, "config")
			r.blob(t, repo, "layer")
			_, err := r.PutManifest(ctx, repo, put)
			must(t, err)
			r.close(t)
			r = open(t, path, store.Config{Settings: store.Settings{Untagged: 1}})
			if _, err := r.PutManifest(ctx, repo, put); !errors.Is(err, core.ErrManifestInvalid) {
				t.Errorf("push: got %v, want %v", err, core.ErrManifestInvalid)
			}
			m, err := r.Manifest(ctx, repo, core.Reference{Tag: "v1"})
			if err != nil || string(m.Bytes) != body || m.Descriptor.MediaType != ociImage && m.Descriptor.MediaType != ociIndex {
				t.Errorf("served as %q with %d bytes and error %v", m.Descriptor.MediaType, len(m.Bytes), err)
			}
			r.wait(48 * 3600e9)
			if _, err := r.Collect(ctx, store.CollectOptions{Idle: true}); err != nil {
				t.Errorf("collect: %v", err)
			}
			for _, content := range []string{"config", "layer"} {
				if err := readable(ctx, r, repo, digest.FromString(content)); err != nil {
					t.Errorf("%s after a collection: %v", content, err)
				}
			}
			if err := r.DeleteManifest(ctx, repo, digest.FromBytes(data)); err != nil {
				t.Errorf("delete: %v", err)
			}
		})
	}
}
