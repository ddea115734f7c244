package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// linkManifest is the second barrier: it makes the manifest readable in repo. The referrer entry
// has its own barrier before that: a client that sees the manifest after a power cut does not
// push it again, so the entry must be there by then.
//
// It returns the previous media type of the manifest, if that changes.
func (s *Store) linkManifest(ctx context.Context, repo string, d digest.Digest, doc *core.Document, put core.ManifestPut) (before string, err error) {
	defer s.holdType(repo, d, doc, put)()
	if before, err = s.retype(ctx, repo, d, doc, put); err != nil {
		return "", err
	}
	defer s.cache.beginManifest(repo, d)()
	if subject := doc.SubjectDigest(); subject != "" {
		entry := core.Referrer(core.Descriptor{
			MediaType: put.MediaType, Digest: d, Size: int64(len(put.Bytes)),
			ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
		})
		key := referrerKey(repo, subject, d, entry.ArtifactType)
		if _, err := s.bucket.Put(ctx, key, encode(entry), bucket.Condition{}); err != nil {
			return "", s.failed("referrer "+string(d), err)
		}
		if err := s.barrier(ctx, key); err != nil {
			return "", err
		}
	}
	if err := s.putRecord(ctx, repo, d, doc, put); err != nil {
		return "", err
	}
	s.grace.touch(s.now(), repo, d)
	// The names are updated before the barrier, like everything visible: DeleteBlob uses them.
	s.project(s.names.PutManifest(repo, d))
	s.imageHeld(ctx, repo, d, doc, put.Bytes)
	if err := s.barrier(ctx, manifestKey(d, repo)); err != nil {
		s.reindexManifest(ctx, repo, d)
		return "", err
	}
	return before, nil
}

// reindexManifest makes the names agree with the bucket after a barrier that failed.
func (s *Store) reindexManifest(ctx context.Context, repo string, d digest.Digest) {
	if _, err := s.bucket.Stat(ctx, manifestKey(d, repo)); errors.Is(err, bucket.ErrNotExist) {
		s.project(s.names.DeleteManifest(repo, d))
		s.changed(Change{Event: ImageGone, Repo: repo, Digest: d})
	}
}

// repushed is the least interval at which the record of a manifest that is pushed again
// without a tag is rewritten. It suffices for `untagged`, which counts days.
const repushed = 24 * time.Hour

// putRecord writes the manifest's link, unless it exists. A repeated push changes
// nothing, except that another media type is accepted (see retype), that damage is
// repaired, and that a manifest without a tag is young again.
func (s *Store) putRecord(ctx context.Context, repo string, d digest.Digest, doc *core.Document, put core.ManifestPut) error {
	key := manifestKey(d, repo)
	mediaType := saidType(put.MediaType, doc)
	var err error
	if put.Import == nil {
		err = s.putLink(ctx, key, mediaType, s.caller(ctx))
	} else {
		err = s.putImported(ctx, key, mediaType, put.Import.Pushed)
	}
	if errors.Is(err, bucket.ErrExist) {
		return s.putRecordAgain(ctx, key, mediaType, len(put.Tags) > 0)
	}
	if err != nil {
		return s.failed("manifest "+string(d), err)
	}
	return nil
}

// putImported makes the link of a manifest that was pushed elsewhere. Its own time is that
// of the push, and the collector counts from now.
func (s *Store) putImported(ctx context.Context, key, mediaType string, pushed time.Time) error {
	now := s.now().UTC()
	record := linkRecord{MediaType: mediaType, Since: past(pushed, now), By: s.caller(ctx), Again: now}
	_, err := s.bucket.Put(ctx, key, encode(record), bucket.Condition{IfAbsent: true})
	return err
}

// past returns at, or now if at is unknown or later.
func past(at, now time.Time) time.Time {
	if at.IsZero() || at.After(now) {
		return now
	}
	return at.UTC()
}

func (s *Store) putRecordAgain(ctx context.Context, key, mediaType string, tagged bool) error {
	lock := s.links.of(key)
	lock.Lock()
	defer lock.Unlock()
	data, info, err := s.bucket.Get(ctx, key)
	if err != nil {
		return s.failed("record "+key, err)
	}
	record, err := decodeLink(info, data)
	now := s.now().UTC()
	switch {
	case err != nil:
		record = linkRecord{MediaType: mediaType, Since: now, By: s.caller(ctx)}
	case record.MediaType != mediaType:
		record.MediaType = mediaType
	case !tagged && now.Sub(record.used()) >= repushed:
		record.Again = now
	default:
		return nil
	}
	if _, err := s.bucket.Put(ctx, key, encode(record), bucket.Condition{}); err != nil {
		return s.failed("record "+key, err)
	}
	return nil
}

// putTags is the third barrier: one for all the tags of a push. It adds their outcome
// to result.
func (s *Store) putTags(ctx context.Context, repo string, put core.ManifestPut, early left, result *core.ManifestResult) (err error) {
	if len(put.Tags) == 0 {
		return nil
	}
	defer s.cache.beginTags(repo, put.Tags...)()
	var set []string
	var before []digest.Digest
	var refused []error
	var keys []string
	defer func() {
		if err != nil {
			s.owed.add(repo, keys...)
		}
	}()
	for i, tag := range put.Tags {
		switch was, err := s.putTag(ctx, repo, tag, s.stateOf(ctx, result.Descriptor.Digest, put, i), put, early); {
		case errors.Is(err, core.ErrTagExists), errors.Is(err, core.ErrChanged):
			refused = append(refused, err)
		case err != nil:
			return err
		default:
			set, before = append(set, tag), append(before, was)
			keys = append(keys, tagKey(repo, tag))
		}
	}
	if err := s.barrier(ctx, keys...); err != nil {
		for _, tag := range set {
			s.reindexTag(ctx, repo, tag)
		}
		return err
	}
	result.Tags, result.Before, result.Refused = set, before, refused
	return nil
}

// stateOf returns what a put makes of its i-th tag.
func (s *Store) stateOf(ctx context.Context, d digest.Digest, put core.ManifestPut, i int) tagState {
	state := tagState{Nonce: newNonce(), Digest: d, Since: s.now().UTC(), By: s.caller(ctx)}
	if put.Import != nil {
		state.Imported = true
		if i < len(put.Import.Tagged) {
			state.Since = past(put.Import.Tagged[i], state.Since)
		}
	}
	return state
}

// putTag gives tag a new state, and returns what it named before. With put.CreateOnly one atomic put
// decides, not the lookup that follows a refusal. Without it the tag's lock makes the lookup and
// the put one step. The record of the manifest that the tag leaves is updated first, unless it is
// among early.
func (s *Store) putTag(ctx context.Context, repo, tag string, state tagState, put core.ManifestPut, early left) (before digest.Digest, err error) {
	d := state.Digest
	key, createOnly := tagKey(repo, tag), put.CreateOnly
	lock := s.tags.of(key)
	lock.Lock()
	defer lock.Unlock()
	if put.From != "" {
		if err := s.still(ctx, repo, tag, put.From); err != nil {
			return "", err
		}
	}
	record := tagRecord{tagState: state}
	_, err = s.bucket.Put(ctx, key, encode(record), bucket.Condition{IfAbsent: true})
	if errors.Is(err, bucket.ErrExist) {
		held, getErr := s.tagRecord(ctx, repo, tag)
		before = held.Digest // empty if it could not be read
		switch {
		case getErr == nil && held.Digest == d && held.Imported && !state.Imported:
			// It was pushed here, too, so the next import must not move it.
			held.Imported = false
			if _, err := s.bucket.Put(ctx, key, encode(held), bucket.Condition{}); err != nil {
				return "", s.failed("tag "+tag, err)
			}
			s.project(s.names.PutTag(repo, tag, d))
			s.tagSet(repo, tag, held)
			return d, nil
		case getErr == nil && held.Digest == d:
			s.project(s.names.PutTag(repo, tag, d))
			s.tagSet(repo, tag, held)
			return d, nil // a retry of CI is not an overwrite
		case getErr == nil && held.Imported && state.Imported:
			// The tag moved at the source of the import, and was not pushed here.
		case (createOnly || state.Imported) && getErr == nil:
			return "", core.WithDetail(
				fmt.Errorf("%w: %s:%s names %s since %s", core.ErrTagExists, repo, tag, held.Digest, held.Since.UTC().Format("2006-01-02 15:04:05 MST")),
				map[string]any{"tag": tag, "digest": held.Digest, "since": held.Since.UTC()})
		case createOnly || state.Imported:
			return "", fmt.Errorf("%w: %s:%s: %w", core.ErrTagExists, repo, tag, getErr)
		}
		if before != "" && !early[before] {
			if err := s.leave(ctx, repo, before); err != nil {
				return "", err
			}
		}
		held.Seen = put.Seen.UTC()
		record = held.next(state)
		_, err = s.bucket.Put(ctx, key, encode(record), bucket.Condition{})
	}
	if err != nil {
		return "", s.failed("tag "+tag, err)
	}
	s.project(s.names.PutTag(repo, tag, d))
	s.tagSet(repo, tag, record)
	return before, nil
}

// still returns core.ErrChanged if a tag does not name d. The caller holds the tag's lock, or the
// repository's.
func (s *Store) still(ctx context.Context, repo, tag string, d digest.Digest) error {
	held, err := s.tagRecord(ctx, repo, tag)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return fmt.Errorf("%w: %s:%s does not exist", core.ErrChanged, repo, tag)
	case err != nil:
		return err
	case held.Digest != d:
		return fmt.Errorf("%w: %s:%s names %s", core.ErrChanged, repo, tag, held.Digest)
	}
	return nil
}

// reindexTag makes the names agree with the bucket after a write that failed.
func (s *Store) reindexTag(ctx context.Context, repo, tag string) {
	lock := s.tags.of(tagKey(repo, tag))
	lock.Lock()
	defer lock.Unlock()
	record, err := s.tagRecord(ctx, repo, tag)
	switch {
	case err == nil:
		err = s.names.PutTag(repo, tag, record.Digest)
		s.tagSet(repo, tag, record)
	case errors.Is(err, bucket.ErrNotExist):
		err = s.names.DeleteTag(repo, tag)
		s.changed(Change{Event: TagGone, Repo: repo, Tag: tag})
	}
	s.project(err)
}

// barrier returns when the objects are durable. It then checks that they exist: an
// object whose sync failed for another request was dropped, and its absence is durable
// too.
func (s *Store) barrier(ctx context.Context, keys ...string) error {
	if _, ok := s.bucket.(bucket.Barrier); !ok {
		return nil // what was written is durable
	}
	if err := s.sync(ctx, keys...); err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := s.bucket.Stat(ctx, key); err != nil {
			return s.failed("sync", err)
		}
	}
	return nil
}

// sync returns when the present state of the keys is durable.
func (s *Store) sync(ctx context.Context, keys ...string) error {
	ctx, span := core.Begin(ctx, "store.sync")
	span.SetInt("registry.sync.objects", int64(len(keys)))
	err := bucket.Sync(ctx, s.bucket, keys...)
	if err != nil {
		err = s.failed("sync", err)
	}
	span.End(err)
	return err
}

// failed wraps an error of the bucket. It distinguishes a full disk from a failing one
// for the client, which may try again later or at once.
func (s *Store) failed(noun string, err error) error {
	switch {
	case errors.Is(err, bucket.ErrNoSpace):
		s.full.Store(true)
		return fmt.Errorf("%w: %s: %w", core.ErrNoSpace, noun, err)
	case errors.Is(err, bucket.ErrSync), errors.Is(err, bucket.ErrNotExist):
		return fmt.Errorf("%w: %s: %w", core.ErrUnavailable, noun, err)
	}
	return fmt.Errorf("%s: %w", noun, err)
}
