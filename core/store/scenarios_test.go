package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// scenarios are the meetings of put, delete and collection in which a store that
// looks and then acts loses something.
var scenarios = []scenario{
	{"a put naming old blobs and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "config", "layer")
		w.age()
		var put, collected error
		return []actor{
			{"put", func(ctx context.Context) { put = w.put(ctx, repo, imageOf("config", "layer"), false, "v1") }},
			{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
		}, func(s core.Registry) error { return errors.Join(collected, acknowledged(ctx, s, put, "v1")) }, err
	}},
	// The client does not send the blob, because it got the answer that it exists.
	{"a push that was told a blob is here and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "config", "layer")
		w.age()
		var put, collected error
		return []actor{
			{"push", func(ctx context.Context) {
				for _, data := range []string{"config", "layer"} {
					if _, err := w.Stat(pusher(ctx), repo, digest.FromString(data)); err != nil {
						put = core.ErrManifestBlobUnknown // it would be uploaded: another scenario
						return
					}
				}
				put = told(w.put(ctx, repo, imageOf("config", "layer"), false, "v1"))
			}},
			{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
		}, func(s core.Registry) error { return errors.Join(collected, acknowledged(ctx, s, put, "v1")) }, err
	}},
	{"a mount from a link that may go and a collection", mountAndCollect(false)},
	{"a mount onto a link that may go and a collection", mountAndCollect(true)},
	{"an upload of content that no repository holds and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "layer")
		if err == nil {
			err = w.DeleteBlob(ctx, repo, digest.FromString("layer"))
		}
		actors, after := commitAndCollect(ctx, w, &err)
		return actors, after, err
	}},
	{"an upload of content whose link may go and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "layer")
		actors, after := commitAndCollect(ctx, w, &err)
		return actors, after, err
	}},
	{"two creators push the same bytes as two types", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		subject := blobOf("subject")
		data := marshalled(ocispec.Index{Manifests: []core.Descriptor{}, Subject: &subject})
		types := []string{ocispec.MediaTypeImageIndex, core.MediaTypeDockerManifestList}
		errs := make([]error, len(types))
		var actors []actor
		for i, mediaType := range types {
			actors = append(actors, actor{mediaType, func(ctx context.Context) {
				_, errs[i] = w.PutManifest(ctx, repo, core.ManifestPut{MediaType: mediaType, Bytes: data, CreateOnly: true})
			}})
		}
		return actors, func(s core.Registry) error {
			first := 0
			if errs[0] != nil {
				first = 1
			}
			if errs[first] != nil || !errors.Is(errs[1-first], core.ErrTypeHeld) {
				return fmt.Errorf("got %v and %v, want one to be refused", errs[0], errs[1])
			}
			desc, err := s.Resolve(ctx, repo, core.Reference{Digest: digest.FromBytes(data)})
			if err != nil || desc.MediaType != types[first] {
				return fmt.Errorf("served as %q (%v), pushed as %q", desc.MediaType, err, types[first])
			}
			for desc, err := range s.Referrers(ctx, repo, subject.Digest, "", "") {
				if err != nil || desc.MediaType != types[first] {
					return fmt.Errorf("listed as %q (%v), pushed as %q", desc.MediaType, err, types[first])
				}
			}
			return nil
		}, nil
	}},
	{"a put and a delete of one manifest", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.push(ctx, repo, "config", "layer", "v1")
		var put, deleted error
		d := digest.FromBytes(imageOf("config", "layer"))
		return []actor{
				{"put", func(ctx context.Context) { put = w.put(ctx, repo, imageOf("config", "layer"), false, "v2") }},
				{"delete", func(ctx context.Context) { deleted = w.DeleteManifest(ctx, repo, d) }},
			}, func(s core.Registry) error {
				_, v1 := s.Resolve(ctx, repo, core.Reference{Tag: "v1"})
				if v1 == nil {
					return errors.New("v1 is there after its manifest was deleted")
				}
				_, v2 := s.Resolve(ctx, repo, core.Reference{Tag: "v2"})
				_, m := s.Resolve(ctx, repo, core.Reference{Digest: d})
				if (v2 == nil) != (m == nil) {
					return fmt.Errorf("tag v2: %v, its manifest: %v", v2, m)
				}
				return errors.Join(put, deleted)
			}, err
	}},
	{"two first pushes of one tag", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "config", "one", "two")
		var one, two error
		return []actor{
				{"one", func(ctx context.Context) { one = w.put(ctx, repo, imageOf("config", "one"), true, "v1") }},
				{"two", func(ctx context.Context) { two = w.put(ctx, repo, imageOf("config", "two"), true, "v1") }},
			}, func(s core.Registry) error {
				desc, err := s.Resolve(ctx, repo, core.Reference{Tag: "v1"})
				winner, loser := imageOf("config", "one"), two
				if one != nil {
					winner, loser = imageOf("config", "two"), one
				}
				if one != nil && two != nil || !errors.Is(loser, core.ErrTagExists) || desc.Digest != digest.FromBytes(winner) {
					return fmt.Errorf("one: %v; two: %v; the tag: %s, %v; want one winner, who has the tag", one, two, desc.Digest, err)
				}
				return err
			}, err
	}},
	{"a put of a manifest whose bytes no repository holds and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		// Another image keeps the blobs, so only the manifest's bytes are at stake.
		err := errors.Join(
			w.push(ctx, repo, "layer", "config", "other"), w.push(ctx, repo, "config", "layer"),
			w.DeleteManifest(ctx, repo, digest.FromBytes(imageOf("config", "layer"))))
		w.age()
		var put, collected error
		return []actor{
			{"put", func(ctx context.Context) { put = w.put(ctx, repo, imageOf("config", "layer"), false, "v1") }},
			{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
		}, func(s core.Registry) error { return errors.Join(collected, acknowledged(ctx, s, put, "v1")) }, err
	}},
	{"a new tag on an untagged manifest and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.push(ctx, repo, "config", "layer")
		w.age()
		var put, collected error
		return []actor{
			{"put", func(ctx context.Context) { put = w.put(ctx, repo, imageOf("config", "layer"), false, "v1") }},
			{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
		}, func(s core.Registry) error { return errors.Join(collected, acknowledged(ctx, s, put, "v1")) }, err
	}},
	{"an index over an untagged child and a collection", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.push(ctx, repo, "config", "layer")
		w.age()
		child := imageOf("config", "layer")
		index := marshalled(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{
			{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(child), Size: int64(len(child))},
		}})
		var put, collected error
		return []actor{
				{"put", func(ctx context.Context) { put = w.put(ctx, repo, index, false, "v1") }},
				{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
			}, func(s core.Registry) error {
				err := holds(ctx, s, repo, core.Reference{Digest: digest.FromBytes(child)})
				if errors.Is(err, core.ErrManifestUnknown) {
					err = nil // it went before the index came, which may be sparse
				}
				return errors.Join(collected, put, err, acknowledged(ctx, s, put, "v1"))
			}, err
	}},
	{"a delete of a blob and a put that names it", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := w.uploadAll(ctx, "config", "layer")
		var put, deleted error
		return []actor{
				{"put", func(ctx context.Context) { put = w.put(ctx, repo, imageOf("config", "layer"), false, "v1") }},
				{"delete", func(ctx context.Context) { deleted = w.DeleteBlob(ctx, repo, digest.FromString("layer")) }},
			}, func(s core.Registry) error {
				if (put == nil) == (deleted == nil) {
					return fmt.Errorf("put: %v; delete: %v; want one to be refused", put, deleted)
				}
				return acknowledged(ctx, s, put, "v1")
			}, err
	}},
	{"a delete of an image and a collection beside a sibling", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := errors.Join(w.push(ctx, repo, "config", "one", "v1"), w.push(ctx, repo, "config", "two", "v2"))
		w.age()
		var deleted, collected error
		return []actor{
				{"delete", func(ctx context.Context) {
					deleted = w.DeleteManifest(ctx, repo, digest.FromBytes(imageOf("config", "one")))
				}},
				{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
			}, func(s core.Registry) error {
				if _, err := s.Resolve(ctx, repo, core.Reference{Tag: "v1"}); err == nil {
					return errors.New("v1 is there after its manifest was deleted")
				}
				return errors.Join(deleted, collected, acknowledged(ctx, s, nil, "v2"))
			}, err
	}},
	// The tag names something at every moment, and so it must for the reader.
	{"a reader of a tag that moves while its old manifest goes", func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		err := errors.Join(w.push(ctx, repo, "config", "one", "v1"), w.uploadAll(ctx, "two"))
		var moved, read error
		return []actor{
			{"move", func(ctx context.Context) {
				moved = errors.Join(
					w.put(ctx, repo, imageOf("config", "two"), false, "v1"),
					w.DeleteManifest(ctx, repo, digest.FromBytes(imageOf("config", "one"))))
			}},
			{"read", func(ctx context.Context) { _, read = w.Manifest(ctx, repo, core.Reference{Tag: "v1"}) }},
		}, func(s core.Registry) error { return errors.Join(moved, read, acknowledged(ctx, s, moved, "v1")) }, err
	}},
}

// mountAndCollect mounts a blob that only an old link holds, into a repository that
// holds nothing or an old link of its own.
func mountAndCollect(onto bool) func(context.Context, *world) ([]actor, func(core.Registry) error, error) {
	return func(ctx context.Context, w *world) ([]actor, func(core.Registry) error, error) {
		d := digest.FromString("layer")
		_, err := w.upload(ctx, "team/from", "layer")
		if onto && err == nil {
			_, err = w.Mount(ctx, repo, "team/from", d)
		}
		w.age()
		var mounted, collected error
		return []actor{
				{"mount", func(ctx context.Context) { _, mounted = w.Mount(ctx, repo, "team/from", d) }},
				{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
			}, func(s core.Registry) error {
				return errors.Join(collected, kept(ctx, w, s, mounted, d))
			}, err
	}
}

// commitAndCollect uploads the old layer again.
func commitAndCollect(ctx context.Context, w *world, err *error) ([]actor, func(core.Registry) error) {
	w.age()
	var committed, collected error
	up, openErr := w.NewUpload(ctx, repo, digest.SHA256)
	*err = errors.Join(*err, openErr)
	if openErr == nil {
		_, appendErr := up.Append(ctx, 0, strings.NewReader("layer"))
		*err = errors.Join(*err, appendErr)
	}
	d := digest.FromString("layer")
	return []actor{
			{"commit", func(ctx context.Context) { _, committed = up.Commit(ctx, d) }},
			{"collect", func(ctx context.Context) { collected = w.collect(ctx) }},
		}, func(s core.Registry) error {
			return errors.Join(collected, committed, kept(ctx, w, s, committed, d))
		}
}

// kept checks a blob whose existence was reported to a client. No manifest names it yet, so a
// power cut may lose it, but this process may not.
func kept(ctx context.Context, w *world, s core.Registry, answer error, d digest.Digest) error {
	switch {
	case errors.Is(answer, core.ErrBlobUnknown):
		return nil
	case answer != nil:
		return answer
	case s != core.Registry(w):
		return nil
	}
	return readable(ctx, s, repo, d)
}

// told checks the error of a put after the client got the answer that everything exists: then it
// must not be refused.
func told(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("refused after the client was told that the blobs exist: %v", err)
}

// acknowledged checks that a tag whose put was acknowledged names a whole image; a
// put may have been refused because the collector was first.
func acknowledged(ctx context.Context, s core.Registry, put error, tag string) error {
	if errors.Is(put, core.ErrManifestBlobUnknown) {
		return nil
	} else if put != nil {
		return put
	}
	return holds(ctx, s, repo, core.Reference{Tag: tag})
}

func (w *world) uploadAll(ctx context.Context, contents ...string) error {
	for _, data := range contents {
		if _, err := w.upload(ctx, repo, data); err != nil {
			return err
		}
	}
	return nil
}
