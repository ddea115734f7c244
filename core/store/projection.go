package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// Projection keeps what a Catalog answers of a store, like Names beside its bucket and never
// authoritative. It is fed by one function; core/index implements it. The methods are safe for
// concurrent use.
type Projection interface {
	core.Catalog
	// Apply notes a change that the bucket has. The changes of one thing come in their order.
	// Writing them may be put off, but every answer has all of them.
	Apply(Change)
	// Whole reports whether everything that the store holds was applied.
	Whole() bool
	// Describe applies what a scan of the store finds and makes the projection whole. Changes
	// may be applied at the same time, also while scan is running: they take precedence. If scan
	// or ctx ends it, its error is returned, and the next call continues. The store makes one
	// call at a time.
	Describe(ctx context.Context, scan iter.Seq2[Change, error]) error
}

// Event is the kind of a Change.
type Event int

const (
	ImageHeld    Event = iota + 1 // Digest, Image, Named, More
	ImageGone                     // Digest
	TagSet                        // Tag, State, Before
	TagGone                       // Tag
	BlobLinked                    // Digest, Size
	BlobUnlinked                  // Digest
	Pulled                        // Digest or Tag, Pulls: so many more
	PullsRead                     // Digest or Tag, Pulls: so many in all
	PulledOn                      // Days: so many more
	DaysRead                      // Days: so many in all
)

// Change is one change of what a repository holds. The events say which members it has.
type Change struct {
	Event  Event
	Repo   string
	Digest digest.Digest
	Tag    string
	Image  core.ImageFacts
	// Named is the content that the manifest names, each once, at most core.MaxNamed.
	Named []digest.Digest
	// More: it names more content than that.
	More  bool
	State core.TagState
	// Before is what the tag named before, the newest first, at most 20.
	Before []core.TagState
	Size   int64 // of the blob, in bytes
	Pulls  core.PullCount
	// Days are pulls by day (UTC, as time.DateOnly).
	Days map[string]int64
}

// changed tells the projection, if there is one.
func (s *Store) changed(c Change) {
	if s.projection != nil {
		s.projection.Apply(c)
	}
}

// imageHeld tells the projection of a manifest that the repository holds. One that was deleted
// meanwhile is not told of.
func (s *Store) imageHeld(ctx context.Context, repo string, d digest.Digest, doc *core.Document, data []byte) {
	if s.projection == nil {
		return
	}
	key := manifestKey(d, repo)
	raw, info, err := s.bucket.Get(ctx, key)
	if err != nil {
		if !errors.Is(err, bucket.ErrNotExist) {
			s.log.Warn("image is not described on pages until it is pushed again or the index is rebuilt",
				"repository", repo, "digest", d, "error", err)
		}
		return
	}
	mediaType := core.MediaTypeUnknown
	if doc != nil {
		mediaType, _ = decodeManifest(key, raw, doc)
	}
	record, _ := decodeLink(info, raw) // without one that can be read it is not known who pushed it
	s.changed(s.imageChange(ctx, repo, d, doc, mediaType, data, record))
}

func (s *Store) imageChange(ctx context.Context, repo string, d digest.Digest, doc *core.Document, mediaType string, data []byte, record linkRecord) Change {
	c := Change{Event: ImageHeld, Repo: repo, Digest: d}
	if doc != nil {
		c.Image = core.Facts(doc, mediaType, data)
		if doc.Configurable() {
			if config, err := s.config(ctx, repo, doc.Config.Digest); err == nil {
				c.Image = c.Image.WithConfig(config)
			}
		}
	} else {
		c.Image = core.ImageFacts{MediaType: mediaType, Size: int64(len(data))}
	}
	c.Image.Pushed, c.Image.By = record.Since, record.By
	seen := map[digest.Digest]struct{}{d: {}}
	for named := range graph.Named(data) {
		if _, twice := seen[named]; twice {
			continue
		}
		if seen[named] = struct{}{}; len(c.Named) == core.MaxNamed {
			c.More = true
			break
		}
		c.Named = append(c.Named, named)
	}
	return c
}

// config reads the config of an image, which the repository holds. Errors: the bucket's, and one
// for a config that is larger than core.MaxConfig.
func (s *Store) config(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	if _, err := s.bucket.Stat(ctx, linkKey(d, repo)); err != nil {
		return nil, err
	}
	object, err := s.bucket.Open(ctx, blobKey(d))
	if err != nil {
		return nil, err
	}
	defer object.Close()
	size := object.Info().Size
	if size > core.MaxConfig {
		return nil, fmt.Errorf("config %s has %d bytes", d, size)
	}
	data := make([]byte, size)
	_, err = io.ReadFull(object, data)
	return data, err
}

// blobLinked tells the projection of a blob that the repository holds. In a mirror a config may
// come after its image, whose row then lacks what it says.
func (s *Store) blobLinked(ctx context.Context, repo string, d digest.Digest, size int64) {
	if s.projection == nil {
		return
	}
	s.changed(Change{Event: BlobLinked, Repo: repo, Digest: d, Size: size})
	if !s.sparse || size > core.MaxConfig {
		return
	}
	for user, err := range s.projection.UserRows(ctx, repo, d, "") {
		if err != nil {
			return
		}
		row, err := s.projection.ImageRow(ctx, repo, user.Digest)
		if err != nil || row.Config != d || !row.Created.IsZero() {
			continue
		}
		m, doc, err := s.readManifest(ctx, repo, user.Digest)
		if err == nil && doc != nil {
			s.imageHeld(ctx, repo, user.Digest, doc, m.Bytes)
		}
	}
}

// tagSet tells the projection of a tag.
func (s *Store) tagSet(repo, tag string, record tagRecord) {
	s.changed(tagChange(repo, tag, record))
}

func tagChange(repo, tag string, record tagRecord) Change {
	c := Change{Event: TagSet, Repo: repo, Tag: tag, State: record.shown()}
	for _, before := range record.Before {
		c.Before = append(c.Before, before.shown())
	}
	return c
}

func (s tagState) shown() core.TagState {
	return core.TagState{Digest: s.Digest, Since: s.Since, By: s.By, Seen: s.Seen}
}

// describeHeld fills the projection in the background of a start, or after a rebuild of the names.
func (s *Store) describeHeld(ctx context.Context) {
	if s.projection == nil || !s.names.Ready() || !s.describing.TryLock() {
		return
	}
	defer s.describing.Unlock()
	if s.projection.Whole() {
		return
	}
	begun := s.now()
	if err := s.projection.Describe(ctx, s.changes(ctx)); err != nil {
		if ctx.Err() == nil {
			s.log.Error("what pages show is incomplete until the next collection or start", "error", err)
		}
		return
	}
	s.log.Info("held content described", "took", s.now().Sub(begun))
}

// changes yields everything that the store holds as changes: blobs before the manifests that
// name them, and tags last. What is damaged is left out, as readers leave it out.
func (s *Store) changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var content bucket.Info
		for info, err := range s.bucket.List(ctx, blobsPrefix, "") {
			if err != nil {
				yield(Change{}, err)
				return
			}
			if _, ok := splitBlob(info.Key); ok {
				content = info
				continue
			}
			d, repo, ok := splitHold(info.Key, blobsPrefix)
			if !ok || blobKey(d) != content.Key {
				continue // its content is missing
			}
			if !yield(Change{Event: BlobLinked, Repo: repo, Digest: d, Size: content.Size}, nil) {
				return
			}
		}
		for repo, err := range s.Repositories(ctx, "") {
			if err != nil {
				yield(Change{}, err)
				return
			}
			if !s.changesOf(ctx, repo, yield) {
				return
			}
		}
	}
}

func (s *Store) changesOf(ctx context.Context, repo string, yield func(Change, error) bool) bool {
	for d, err := range s.held(ctx, repo) {
		if err != nil {
			return yield(Change{}, err)
		}
		var record linkRecord
		raw, info, err := s.bucket.Get(ctx, manifestKey(d, repo))
		if err == nil {
			record, _ = decodeLink(info, raw)
		}
		var m core.Manifest
		var doc *core.Document
		if err == nil {
			m, doc, err = s.readManifest(ctx, repo, d)
		}
		if errors.Is(err, bucket.ErrNotExist) || errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return yield(Change{}, err)
		}
		if !yield(s.imageChange(ctx, repo, d, doc, m.Descriptor.MediaType, m.Bytes, record), nil) {
			return false
		}
	}
	for tag, err := range s.tagNames(ctx, repo, "") {
		var record tagRecord
		if err == nil {
			record, err = s.tagRecord(ctx, repo, tag)
		}
		if errors.Is(err, bucket.ErrNotExist) || errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return yield(Change{}, err)
		}
		if !yield(tagChange(repo, tag, record), nil) {
			return false
		}
	}
	return s.pullsOf == nil || s.pullChanges(ctx, repo, yield)
}

// pullChanges yields the pulls of a repository.
func (s *Store) pullChanges(ctx context.Context, repo string, yield func(Change, error) bool) bool {
	for c, err := range s.pullsOf(ctx, repo) {
		if !yield(c, err) || err != nil {
			return false
		}
	}
	return true
}
