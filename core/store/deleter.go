package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// DeleteTag implements core.Deleter.
func (s *Store) DeleteTag(ctx context.Context, repo, tag string) error {
	ctx = context.WithoutCancel(ctx) // as in PutManifest
	defer s.repos.lock(repo)()
	// Settle also before answering "there is no such tag": a client that retries takes that
	// answer for success.
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	// The tag cannot change while the lock is held.
	if expected, ok := core.ExpectedFrom(ctx); ok {
		if err := s.still(ctx, repo, tag, expected.Digest); err != nil {
			return err
		}
	}
	// Even a record that cannot be read can be deleted.
	held, err := s.tagRecord(ctx, repo, tag)
	if err == nil {
		if err := s.leave(ctx, repo, held.Digest); err != nil {
			return err
		}
	}
	err = s.dropTags(ctx, repo, tag)
	if errors.Is(err, bucket.ErrNotExist) {
		return s.unknown(repo, err, core.ErrManifestUnknown, "tag "+tag)
	}
	if deletion := core.DeletionFrom(ctx); err == nil && deletion != nil {
		deletion.Digest = held.Digest
	}
	return err
}

// dropTags removes tags with one barrier. The caller holds the repository's lock.
func (s *Store) dropTags(ctx context.Context, repo string, tags ...string) error {
	defer s.cache.beginTags(repo, tags...)()
	for _, tag := range tags {
		key := tagKey(repo, tag)
		if err := s.bucket.Delete(ctx, key); err != nil {
			return err
		}
		s.owed.add(repo, key)
		s.project(s.names.DeleteTag(repo, tag))
		s.changed(Change{Event: TagGone, Repo: repo, Tag: tag})
	}
	return s.settle(ctx, repo)
}

// DeleteManifest implements core.Deleter.
func (s *Store) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	ctx = context.WithoutCancel(ctx)
	defer s.repos.lock(repo)()
	defer s.keepContent(d)()
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	m, err := s.manifest(ctx, repo, d)
	if errors.Is(err, ErrDamaged) {
		m = core.Manifest{Descriptor: core.Descriptor{Digest: d}} // it can be deleted unread
	} else if err != nil {
		return err
	}
	// Tags are deleted first, with their own barrier: after a power cut no tag may name something
	// that was deleted.
	tags, err := s.tagsOf(ctx, repo, d)
	if err != nil {
		return err
	}
	if expected, ok := core.ExpectedFrom(ctx); ok {
		if err := s.asExpected(ctx, repo, d, tags, expected); err != nil {
			return err
		}
	}
	if err := s.dropTags(ctx, repo, tags...); err != nil {
		return err
	}
	if deletion := core.DeletionFrom(ctx); deletion != nil {
		deletion.Tags = tags
	}
	if err := s.dropManifest(ctx, repo, m); err != nil {
		return err
	}
	return s.settle(ctx, repo)
}

// tagsOf returns the tags that name a manifest, in byte order. The projection knows them, if it has
// everything; else all tags of the repository are looked at. The caller holds the repository's lock and has
// settled.
func (s *Store) tagsOf(ctx context.Context, repo string, d digest.Digest) (tags []string, err error) {
	if s.projection != nil && s.projection.Whole() {
		var failed error
		for tag, err := range s.projection.DigestTags(ctx, repo, d, "") {
			if failed = err; err != nil {
				break
			}
			tags = append(tags, tag)
		}
		if failed == nil && s.projection.Whole() { // it was not begun anew meanwhile
			return tags, nil
		}
	}
	tags = nil
	for tag, err := range s.tagRows(ctx, repo) {
		if errors.Is(err, ErrDamaged) {
			continue // it is served as if it named nothing
		} else if err != nil {
			return nil, err
		}
		if tag.Digest == d {
			tags = append(tags, tag.Name)
		}
	}
	return tags, nil
}

// asExpected returns core.ErrChanged if a manifest has other tags than expected, or is named by
// other manifests. The caller holds the repository's lock.
func (s *Store) asExpected(ctx context.Context, repo string, d digest.Digest, tags []string, expected core.Expected) error {
	if !slices.Equal(tags, expected.Tags) {
		return fmt.Errorf("%w: %s of %s has the tags %q", core.ErrChanged, d, repo, tags)
	}
	if expected.Users == nil {
		return nil
	}
	if s.projection == nil {
		return fmt.Errorf("%w: users of %s", core.ErrUnsupported, d)
	}
	// The projection is written behind, but before each of its answers. With the lock nobody adds a user.
	for _, named := range []digest.Digest{d, core.Unlisted} {
		for user, err := range s.projection.UserRows(ctx, repo, named, "") {
			if err != nil {
				return err
			}
			if !slices.Contains(expected.Users, user.Digest) {
				return fmt.Errorf("%w: %s of %s is, or may be, named by %s", core.ErrChanged, d, repo, user.Digest)
			}
		}
	}
	if !s.projection.Whole() { // it was begun anew, perhaps without one of them
		return fmt.Errorf("%w: the index is being built, and what names %s is not known", core.ErrUnavailable, d)
	}
	return nil
}

// dropManifest removes a manifest's link and referrer entry, and notes them as owed. The caller holds
// the repository's lock and has settled.
func (s *Store) dropManifest(ctx context.Context, repo string, m core.Manifest) error {
	d := m.Descriptor.Digest
	defer s.cache.beginManifest(repo, d)()
	entries, err := s.entriesOf(ctx, repo, m)
	if err != nil {
		return fmt.Errorf("delete manifest %s: %w", d, err)
	}
	key := manifestKey(d, repo)
	if err := s.remove(ctx, key); err != nil {
		return err
	}
	s.owed.add(repo, key)
	s.project(s.names.DeleteManifest(repo, d))
	s.changed(Change{Event: ImageGone, Repo: repo, Digest: d})
	if len(entries) == 0 {
		return nil
	}
	// The entry is removed once the manifest's removal is durable; see linkManifest.
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	for _, key := range entries {
		if err := s.remove(ctx, key); err != nil {
			return err
		}
		s.owed.add(repo, key)
	}
	return nil
}

// entriesOf returns the keys of a manifest's referrer entries: one if it has a subject.
// It lists them, because their keys have the type that the manifest had when it was pushed. If the
// manifest cannot be read, it lists the entries of all subjects.
func (s *Store) entriesOf(ctx context.Context, repo string, m core.Manifest) (keys []string, err error) {
	d, prefix := m.Descriptor.Digest, reposPrefix+repo+referrersPart
	// A document that could not be pushed today was accepted under older rules, which may have read
	// another subject.
	if doc, err := core.Inspect(m.Bytes); err == nil && doc.Ambiguous == nil && doc.Malformed == nil {
		subject := doc.SubjectDigest()
		if subject == "" {
			return nil, nil
		}
		prefix = referrerPrefix(repo, subject) + string(d)
	}
	for info, err := range s.bucket.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if _, _, of, _, ok := splitReferrer(info.Key); ok && of == d {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// remove deletes an object that may be gone already.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.bucket.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return s.failed("delete "+key, err)
	}
	return nil
}

// DeleteBlob implements core.Deleter. The collector removes the content.
func (s *Store) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	ctx = context.WithoutCancel(ctx)
	defer s.repos.lock(repo)()
	defer s.keepContent(d)()
	if err := s.settle(ctx, repo); err != nil {
		return err
	}
	if _, err := s.bucket.Stat(ctx, linkKey(d, repo)); err != nil {
		return s.unknown(repo, err, core.ErrBlobUnknown, "blob "+string(d))
	}
	users, damaged, err := s.users(ctx, repo, d)
	if err != nil {
		return err
	}
	if users = append(users, damaged...); len(users) > 0 {
		err := fmt.Errorf("%w: %s is named by %v", core.ErrBlobInUse, d, users)
		if len(damaged) > 0 {
			err = fmt.Errorf("%w, of which %v are damaged and may name anything", err, damaged)
		}
		return core.WithDetail(err, map[string]any{"manifests": users})
	}
	key := linkKey(d, repo)
	if err := s.bucket.Delete(ctx, key); err != nil {
		return s.unknown(repo, err, core.ErrBlobUnknown, "blob "+string(d))
	}
	s.changed(Change{Event: BlobUnlinked, Repo: repo, Digest: d})
	s.owed.add(repo, key)
	return s.settle(ctx, repo)
}

// maxUsers bounds how many manifests an answer names.
const maxUsers = 20

// users returns manifests of repo that name the blob d, and damaged manifests that may name it, at
// most maxUsers of each.
func (s *Store) users(ctx context.Context, repo string, d digest.Digest) (users, damaged []digest.Digest, err error) {
	for held, err := range s.held(ctx, repo) {
		if err != nil {
			return nil, nil, err
		}
		m, err := s.manifest(ctx, repo, held)
		if errors.Is(err, ErrDamaged) {
			if len(damaged) < maxUsers {
				damaged = append(damaged, held)
			}
			continue
		} else if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
			continue
		} else if err != nil {
			return nil, nil, err
		}
		if graph.Names(m.Bytes, d) {
			users = append(users, held)
		}
		if len(users) == maxUsers {
			break
		}
	}
	return users, damaged, nil
}
