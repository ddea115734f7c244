package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// Evicted is what an eviction removed.
type Evicted struct {
	Tags      []string
	Manifests []digest.Digest
	// Unlinked is the content that the repository held only for these manifests, with the
	// repositories that still hold it.
	Unlinked []Content
	// Blobs and Bytes count the content that no repository holds any more and that was
	// removed from the bucket.
	Blobs int
	Bytes int64
}

// Evict removes manifests of a repository, with the tags that name them and with the
// blobs that no other manifest of the repository names, whatever their age. It is for a
// sparse store, whose content can be fetched again. The order is tags, manifests, links,
// content, each durable before the next; a crash between any two leaves only what the
// collector or the next eviction removes. The manifests are removed in the order of ds;
// missing ones are skipped. A request that is reading a blob can read it to its end.
func (s *Store) Evict(ctx context.Context, repo string, ds ...digest.Digest) (Evicted, error) {
	ctx = context.WithoutCancel(ctx) // as in PutManifest
	var done Evicted
	// The contents of manifests do not change, so most of them are read before the
	// repository's lock is taken.
	w := newWeighing(ds)
	err := s.weigh(ctx, repo, w)
	if err == nil {
		err = s.unlink(ctx, repo, w, &done)
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

// unlink is the part of an eviction under the repository's lock.
func (s *Store) unlink(ctx context.Context, repo string, w *weighing, done *Evicted) error {
	defer s.repos.lock(repo)()
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	if err := s.weigh(ctx, repo, w); err != nil {
		return err
	}
	going, candidates := w.outcome()
	defer s.keepContents(slices.Concat(going, candidates))()
	if err := s.dropTagsOf(ctx, repo, going, done); err != nil {
		return err
	}
	for _, d := range going {
		if _, err := s.bucket.Stat(ctx, manifestKey(d, repo)); errors.Is(err, bucket.ErrNotExist) {
			continue // deleted since it was read
		}
		data, err := s.readContent(ctx, d)
		if err != nil {
			data = nil // it can be removed unread
		}
		if err := s.dropManifest(ctx, repo, core.Manifest{Descriptor: core.Descriptor{Digest: d}, Bytes: data}); err != nil {
			return err
		}
		done.Manifests = append(done.Manifests, d)
	}
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	return s.dropLinks(ctx, repo, slices.Concat(going, candidates), w, done)
}

// dropTagsOf removes the tags that name the manifests of an eviction, and damaged tags:
// they name nothing, and the upstream can be asked again.
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

// dropLinks removes repo's links to content, and records the content.
func (s *Store) dropLinks(ctx context.Context, repo string, content []digest.Digest, w *weighing, done *Evicted) error {
	var gone []string
	for _, d := range content {
		info, err := s.bucket.Stat(ctx, blobKey(d))
		if errors.Is(err, bucket.ErrNotExist) {
			continue // never fetched
		} else if err != nil {
			return err
		}
		key := linkKey(d, repo)
		err = bucket.ErrNotExist
		if !w.stays(d) {
			err = s.bucket.Delete(ctx, key)
		}
		switch {
		case err == nil:
			s.changed(Change{Event: BlobUnlinked, Repo: repo, Digest: d})
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

// dropUnheld removes content unless a repository holds it. A request that is linking it now
// either holds the stripe, or finds it gone.
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

// holders returns the repositories that hold content, as a blob or as a manifest.
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
	// Names are the manifests of the repository that it names, without its subject. It is
	// empty for a damaged manifest.
	Names   []digest.Digest
	Subject digest.Digest // or empty
	Time    time.Time     // of its put
}

// Manifests reads all the manifests of repo, one at a time and in no order, bypassing the
// cache. Errors are the bucket's.
func (s *Store) Manifests(ctx context.Context, repo string) iter.Seq2[Held, error] {
	return func(yield func(Held, error) bool) {
		all := map[digest.Digest]struct{}{}
		for d, err := range s.held(ctx, repo) {
			if err != nil {
				yield(Held{}, fmt.Errorf("manifests of %s: %w", repo, err))
				return
			}
			all[d] = struct{}{}
		}
		for d := range all {
			held, err := s.describe(ctx, repo, d, all)
			if errors.Is(err, bucket.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				err = fmt.Errorf("manifests of %s: %w", repo, err)
			}
			if !yield(held, err) || err != nil {
				return
			}
		}
	}
}

func (s *Store) describe(ctx context.Context, repo string, d digest.Digest, all map[digest.Digest]struct{}) (Held, error) {
	info, err := s.bucket.Stat(ctx, manifestKey(d, repo))
	if err != nil {
		return Held{}, err
	}
	held := Held{Digest: d, Time: info.Time}
	m, doc, err := s.readManifest(ctx, repo, d)
	if errors.Is(err, ErrDamaged) {
		return held, nil
	} else if err != nil {
		return Held{}, err
	}
	if doc != nil {
		held.Subject = doc.SubjectDigest()
	}
	seen := map[digest.Digest]struct{}{held.Subject: {}}
	for named := range graph.Named(m.Bytes) {
		if _, ok := all[named]; !ok {
			continue
		}
		if _, ok := seen[named]; !ok {
			seen[named] = struct{}{}
			held.Names = append(held.Names, named)
		}
	}
	return held, nil
}
