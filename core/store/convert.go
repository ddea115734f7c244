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

const (
	// layoutKey is the record of the bucket's layout version.
	layoutKey = "layout"
	// layoutVersion is the layout that this program writes.
	layoutVersion = 3
	// convertBatch is how many entries are made durable at once.
	convertBatch = 64
	// convertNews is how often the progress of a conversion is logged.
	convertNews = 10 * time.Second
)

// layout is the object at layoutKey. A bucket without one is new, or of layout 2, or its
// conversion was cut off.
type layout struct {
	Version int `json:"version"`
	// Since is when the bucket was converted to this layout: older objects may have been
	// in use until then.
	Since time.Time `json:"since"`
}

// convert converts a bucket from layout 2 to layout 3. It is complete when the record at
// layoutKey, which is written last, says so. If it is interrupted, the next call continues
// it.
//
// Only the entries of referrers are rewritten: their keys end in a mark of the type now,
// and they are bounded. All other records of layout 2 stay as they are until they change,
// and mean the following:
//
//   - a tag has named its digest since `time`. It has no predecessors, its creator is
//     unknown, and its nonce is computed from its bytes (decodeTag).
//   - a manifest was pushed at the time of its object, by an unknown caller, and no tag
//     has left it (decodeLink). `untagged` counts from the conversion at the earliest.
//   - the time of a pull adds nothing to the counts (pulls.Count).
//
// Errors: the bucket's, and that the layout is a newer one.
func (s *Store) convert(ctx context.Context) error {
	data, _, err := s.bucket.Get(ctx, layoutKey)
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return fmt.Errorf("read the storage's layout: %w", err)
	}
	if err == nil {
		record, err := decode[layout](layoutKey, data)
		switch {
		case err != nil || record.Version < layoutVersion:
			s.log.Warn("record of the storage's layout is damaged; entries of an older layout are searched again", "error", err)
		case record.Version > layoutVersion:
			return fmt.Errorf("the storage has layout version %d and this program knows up to %d: run the newer program that wrote it, or restore a copy from before the update", record.Version, layoutVersion)
		default:
			s.converted = record.Since
			return nil
		}
	}
	if err := s.convertReferrers(ctx); err != nil {
		return fmt.Errorf("convert the storage to layout %d (it continues at the next start): %w", layoutVersion, err)
	}
	record := layout{Version: layoutVersion, Since: s.now().UTC()}
	if _, err := s.bucket.Put(ctx, layoutKey, encode(record), bucket.Condition{}); err != nil {
		return s.failed("record of the storage's layout", err)
	}
	s.converted = record.Since
	return s.sync(ctx, layoutKey)
}

// convertReferrers gives each entry its new key. The new one is durable before the old one
// is removed. A conversion that finds both writes the new one again.
func (s *Store) convertReferrers(ctx context.Context) error {
	begun := time.Now()
	told, done := begun, 0
	var made, old []string
	flush := func() error {
		if err := s.sync(ctx, made...); err != nil {
			return err
		}
		for _, key := range old {
			if err := s.remove(ctx, key); err != nil {
				return err
			}
		}
		err := s.sync(ctx, old...)
		done += len(old)
		made, old = made[:0], old[:0]
		return err
	}
	for info, err := range s.bucket.List(ctx, reposPrefix, "") {
		if err != nil {
			return err
		}
		repo, subject, d, mark, ok := splitReferrer(info.Key)
		if !ok || mark != "" {
			continue
		}
		entry, err := s.oldReferrer(ctx, repo, info.Key, d)
		switch {
		case err == nil:
			key := referrerKey(repo, subject, d, entry.ArtifactType)
			if _, err := s.bucket.Put(ctx, key, encode(entry), bucket.Condition{}); err != nil {
				return s.failed("referrer "+string(d), err)
			}
			made = append(made, key)
		case errors.Is(err, bucket.ErrNotExist):
			s.log.Error("entry of a referrer is damaged, and its manifest is damaged or gone; the entry is removed, and pushing the manifest again restores it",
				"repository", repo, "subject", subject, "manifest", d)
		default:
			return err
		}
		if old = append(old, info.Key); len(old) == convertBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		if now := time.Now(); now.Sub(told) >= convertNews {
			s.log.Info("storage is being converted to a new layout", "layout", layoutVersion, "referrers", done)
			told = now
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if done > 0 {
		s.log.Info("storage was converted to a new layout", "layout", layoutVersion, "referrers", done, "took", time.Since(begun))
	}
	return nil
}

// oldReferrer reads an entry of layout 2. If it is damaged, oldReferrer derives it from
// its manifest. Errors: bucket.ErrNotExist when neither can be read; others of the bucket.
func (s *Store) oldReferrer(ctx context.Context, repo, key string, d digest.Digest) (core.Descriptor, error) {
	data, _, err := s.bucket.Get(ctx, key)
	if err != nil {
		return core.Descriptor{}, err
	}
	entry, err := decode[core.Descriptor](key, data)
	if err == nil && entry.Digest == d {
		return core.Referrer(entry), nil
	}
	return s.describeReferrer(ctx, repo, d)
}
