package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Evicted is what an eviction removed.
type Evicted struct {
	Tags      []string
	Manifests []digest.Digest
	// Unlinked is the content that the repository held for these manifests alone,
	// with the repositories that hold it still.
	Unlinked []Content
	// Blobs and Bytes count what nobody holds any more, and is gone from the bucket.
	Blobs int
	Bytes int64
}

// Evict removes manifests of a repository, with the tags that name them and with the
// blobs that no other manifest of the repository names, whatever their age: it is for
// a sparse store, which can be given everything again. The order is tags, manifests,
// links, content, each durable before the next; a crash between any two leaves only
// what the collector removes, or the next eviction. A manifest that is not there is
// passed over. Who reads a blob now can read it to its end.
func (s *Store) Evict(ctx context.Context, repo string, ds ...digest.Digest) (Evicted, error) {
	ctx = context.WithoutCancel(ctx) // as in PutManifest
	var done Evicted
	// What the manifests name does not change, so most of them are read before the
	// repository's lock is taken.
	known := map[digest.Digest]core.Links{}
	err := s.learn(ctx, repo, known)
	if err == nil {
		err = s.unlink(ctx, repo, known, ds, &done)
	}
	if err != nil {
		return done, fmt.Errorf("evict from %s: %w", repo, err)
	}
	for i, c := range done.Unlinked {
		dropped, err := s.dropUnheld(ctx, c.Digest)
		if err != nil {
			return done, fmt.Errorf("evict %s: %w", c.Digest, err)
		}
		if dropped {
			done.Blobs++
			done.Bytes += c.Size
			continue
		}
		if done.Unlinked[i].Repos, err = s.holders(ctx, c.Digest); err != nil {
			return done, fmt.Errorf("evict %s: %w", c.Digest, err)
		}
	}
	return done, nil
}

// learn adds to known what the manifests of repo name. One that is gone is left out.
// One that is damaged names nothing: whatever it needs can be had again.
func (s *Store) learn(ctx context.Context, repo string, known map[digest.Digest]core.Links) error {
	held := map[digest.Digest]core.Links{}
	for d, err := range s.held(ctx, repo) {
		if err != nil {
			return err
		}
		links, ok := known[d]
		if !ok {
			// Not through the cache, as in a collection.
			m, err := s.readManifest(ctx, repo, d)
			if errors.Is(err, bucket.ErrNotExist) {
				continue
			} else if errors.Is(err, ErrDamaged) {
				held[d] = core.Links{}
				continue
			} else if err != nil {
				return err
			}
			if links, err = heldLinks(m.Bytes); err != nil {
				return fmt.Errorf("manifest %s: %w", d, err)
			}
		}
		held[d] = links
	}
	clear(known)
	maps.Copy(known, held)
	return nil
}

// unlink is the part of an eviction under the repository's lock.
func (s *Store) unlink(ctx context.Context, repo string, known map[digest.Digest]core.Links, ds []digest.Digest, done *Evicted) error {
	defer s.repos.lock(repo)()
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	if err := s.learn(ctx, repo, known); err != nil {
		return err
	}
	var going []digest.Digest
	candidates := map[digest.Digest]struct{}{}
	for _, d := range ds {
		links, ok := known[d]
		if !ok {
			continue
		}
		delete(known, d)
		going = append(going, d)
		candidates[d] = struct{}{}
		for _, desc := range links.Blobs {
			candidates[desc.Digest] = struct{}{}
		}
	}
	for _, links := range known {
		for _, desc := range links.Blobs {
			delete(candidates, desc.Digest)
		}
	}
	defer s.keepContents(slices.Concat(going, slices.Collect(maps.Keys(candidates))))()
	if err := s.dropTagsOf(ctx, repo, going, done); err != nil {
		return err
	}
	for _, d := range going {
		m, err := s.manifest(ctx, repo, d)
		if errors.Is(err, ErrDamaged) {
			m = core.Manifest{Descriptor: core.Descriptor{Digest: d}}
		} else if err != nil {
			return err
		}
		if err := s.dropManifest(ctx, repo, m); err != nil {
			return err
		}
		done.Manifests = append(done.Manifests, d)
	}
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	return s.dropLinks(ctx, repo, candidates, done)
}

// dropTagsOf removes the tags that name the manifests of an eviction, and those that
// are damaged: they name nothing, and the upstream can be asked again.
func (s *Store) dropTagsOf(ctx context.Context, repo string, going []digest.Digest, done *Evicted) error {
	var tags []string
	for tag, err := range s.tagRows(ctx, repo) {
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if err != nil || slices.Contains(going, tag.Digest) {
			tags = append(tags, tag.Name)
		}
	}
	if err := s.dropTags(ctx, repo, tags...); err != nil {
		return err
	}
	done.Tags = tags
	return nil
}

// dropLinks removes repo's links to content, and notes what it was.
func (s *Store) dropLinks(ctx context.Context, repo string, content map[digest.Digest]struct{}, done *Evicted) error {
	var gone []string
	for d := range content {
		info, err := s.bucket.Stat(ctx, blobKey(d))
		if errors.Is(err, bucket.ErrNotExist) {
			continue // never asked for
		} else if err != nil {
			return err
		}
		key := linkKey(d, repo)
		err = s.bucket.Delete(ctx, key, bucket.Condition{})
		switch {
		case err == nil:
			gone = append(gone, key)
		case !errors.Is(err, bucket.ErrNotExist):
			return s.failed("delete "+key, err)
		case !slices.Contains(done.Manifests, d):
			continue // another repository's
		}
		done.Unlinked = append(done.Unlinked, Content{Digest: d, Size: info.Size})
	}
	return s.sync(ctx, gone...)
}

// dropUnheld removes content unless a repository holds it. Who is linking it now
// either holds the stripe, or will find it gone.
func (s *Store) dropUnheld(ctx context.Context, d digest.Digest) (dropped bool, err error) {
	lock := s.digests.of(string(d))
	lock.Lock()
	defer lock.Unlock()
	holders, err := s.holders(ctx, d)
	if err != nil || len(holders) > 0 {
		return false, err
	}
	return true, s.remove(ctx, blobKey(d))
}

// holders are the repositories that hold content, as a blob or as a manifest.
func (s *Store) holders(ctx context.Context, d digest.Digest) ([]string, error) {
	var repos []string
	for _, prefix := range []string{blobsPrefix, manifestsPrefix} {
		for repo, err := range s.scanHolds(ctx, prefix, d) {
			if err != nil {
				return nil, err
			}
			repos = append(repos, repo)
		}
	}
	slices.Sort(repos)
	return slices.Compact(repos), nil
}

// Held is a manifest that a repository holds.
type Held struct {
	Digest digest.Digest
	Links  core.Links
	Time   time.Time // of its put
}

// Manifests reads all the manifests of repo, in no order, and passes by the cache. One
// that is damaged has no Links. Errors are the bucket's.
func (s *Store) Manifests(ctx context.Context, repo string) iter.Seq2[Held, error] {
	return func(yield func(Held, error) bool) {
		known := map[digest.Digest]core.Links{}
		if err := s.learn(ctx, repo, known); err != nil {
			yield(Held{}, fmt.Errorf("manifests of %s: %w", repo, err))
			return
		}
		for d, links := range known {
			key := manifestKey(d, repo)
			info, err := s.bucket.Stat(ctx, key)
			if errors.Is(err, bucket.ErrNotExist) {
				continue // deleted meanwhile
			}
			if !yield(Held{Digest: d, Links: links, Time: info.Time}, err) || err != nil {
				return
			}
		}
	}
}
