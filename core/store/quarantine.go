package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// quarantinePrefix has content that does not match its digest, under that digest. Readers do not
// look there.
const quarantinePrefix = "quarantine/"

func quarantineKey(d digest.Digest) string { return quarantinePrefix + string(d) }

// Quarantined is content in the quarantine.
type Quarantined struct {
	Digest digest.Digest // the digest that it should have
	Size   int64         // bytes
	Time   time.Time     // since when
}

// Open opens the content of d, whichever repository holds it, to examine its bytes. Its Info has
// the version that Quarantine takes. Errors: bucket.ErrNotExist, and others of the bucket.
func (s *Store) Open(ctx context.Context, d digest.Digest) (bucket.Object, error) {
	return s.bucket.Open(ctx, blobKey(d))
}

// Quarantine moves damaged content of d out of the way: it is then missing until it is pushed or
// fetched again. Tags, holds and links stay. It returns false and moves nothing if the content is
// gone or is another version by now, so that its replacement wins. Errors: errors.ErrUnsupported
// when the bucket cannot move objects, and the bucket's.
func (s *Store) Quarantine(ctx context.Context, d digest.Digest, version string) (moved bool, err error) {
	ctx = context.WithoutCancel(ctx)
	if moved, err = s.quarantine(ctx, d, version); moved {
		err = s.sync(ctx, blobKey(d), quarantineKey(d))
	}
	return moved, err
}

// quarantine is Quarantine without waiting for the move to become durable.
func (s *Store) quarantine(ctx context.Context, d digest.Digest, version string) (moved bool, err error) {
	mover, ok := s.bucket.(bucket.Rename)
	if !ok {
		return false, fmt.Errorf("quarantine %s: this storage cannot move objects: %w", d, errors.ErrUnsupported)
	}
	// The lock keeps others from linking, committing or dropping it, and from beginning to hold it
	// as a manifest.
	lock := s.digests.of(string(d))
	lock.Lock()
	defer lock.Unlock()
	for repo, err := range s.scanHolds(ctx, manifestsPrefix, d) {
		if err != nil {
			return false, fmt.Errorf("quarantine %s: %w", d, err)
		}
		defer s.cache.beginManifest(repo, d)() // the cache has the right bytes, which the next start would not find
	}
	err = mover.Rename(ctx, blobKey(d), version, quarantineKey(d))
	if errors.Is(err, bucket.ErrChanged) {
		return false, nil
	} else if err != nil {
		return false, s.failed("quarantine "+string(d), err)
	}
	return true, nil
}

// Quarantined yields the contents of the quarantine, in the order of digests.
func (s *Store) Quarantined(ctx context.Context) iter.Seq2[Quarantined, error] {
	return func(yield func(Quarantined, error) bool) {
		for info, err := range s.bucket.List(ctx, quarantinePrefix, "") {
			d, parseErr := core.ParseDigest(strings.TrimPrefix(info.Key, quarantinePrefix))
			if err == nil && parseErr != nil {
				continue // not ours
			}
			if !yield(Quarantined{Digest: d, Size: info.Size, Time: info.Time}, err) || err != nil {
				return
			}
		}
	}
}

// DropQuarantined removes for good what has been in the quarantine since before. It returns the
// number of objects.
func (s *Store) DropQuarantined(ctx context.Context, before time.Time) (dropped int, err error) {
	for q, err := range s.Quarantined(ctx) {
		if err != nil {
			return dropped, fmt.Errorf("quarantine: %w", err)
		}
		if !q.Time.Before(before) {
			continue
		}
		if err := s.remove(ctx, quarantineKey(q.Digest)); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}
