package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// maxStamps bounds the callers whose last time is remembered.
const maxStamps = 64

// stamps gives the links that one caller makes within a second the same time, so that
// their records are equal and do not cost a file each.
type stamps struct {
	mu    sync.Mutex
	since map[string]time.Time // by caller; guarded by mu
}

func (s *stamps) of(by string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since, ok := s.since[by]; ok && !now.Before(since) && now.Sub(since) < time.Second {
		return since
	}
	if s.since == nil || len(s.since) >= maxStamps {
		s.since = map[string]time.Time{}
	}
	s.since[by] = now.UTC().Truncate(time.Millisecond)
	return s.since[by]
}

// putLink makes a link, if there is none. Errors: the bucket's.
func (s *Store) putLink(ctx context.Context, key, mediaType, by string) error {
	var data []byte
	if mediaType != "" || by != "" {
		data = encode(linkRecord{MediaType: mediaType, Since: s.stamps.of(by, s.now()), By: by})
	}
	_, err := s.bucket.Put(ctx, key, data, bucket.Condition{IfAbsent: true, Alike: true})
	return err
}

// left has manifests whose records already say that a tag is about to leave them.
type left map[digest.Digest]bool

// leaveEarly writes what putTag would have to write under the tag's lock, during the first
// barrier of a push: then moving a tag needs no further wait. It guesses which manifests the tags
// will leave; putTag does the rest.
func (s *Store) leaveEarly(ctx context.Context, repo string, d digest.Digest, tags []string) left {
	done := left{}
	for _, tag := range tags {
		held, err := s.tagRecord(ctx, repo, tag)
		if err != nil || held.Digest == d || done[held.Digest] {
			continue
		}
		if err := s.leave(ctx, repo, held.Digest); err == nil {
			done[held.Digest] = true
		}
	}
	return done
}

// leave notes, durably, that a tag ceases to name d now. This happens before the tag is
// moved or deleted: after a power cut between the two the manifest is tagged and the note
// is harmless, whereas a manifest without a note might be collected at once. Mirrors do
// not keep untagged manifests by age and have no such notes.
func (s *Store) leave(ctx context.Context, repo string, d digest.Digest) error {
	if s.sparse {
		return nil
	}
	key := manifestKey(d, repo)
	if err := s.changeLink(ctx, key, func(record *linkRecord) bool {
		record.Left = s.now().UTC()
		return true
	}); err != nil {
		return err
	}
	return s.sync(ctx, key)
}

// changeLink changes the record at manifestKey, if there is one that can be read.
// Concurrent calls change it one after the other.
func (s *Store) changeLink(ctx context.Context, key string, change func(*linkRecord) bool) error {
	lock := s.links.of(key)
	lock.Lock()
	defer lock.Unlock()
	data, info, err := s.bucket.Get(ctx, key)
	if errors.Is(err, bucket.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.failed("record "+key, err)
	}
	record, err := decodeLink(info, data)
	if err != nil {
		return nil // only pushing the manifest again can restore it
	}
	if !change(&record) {
		return nil
	}
	if _, err := s.bucket.Put(ctx, key, encode(record), bucket.Condition{}); err != nil {
		return s.failed("record "+key, err)
	}
	return nil
}
