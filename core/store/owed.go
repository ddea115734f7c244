package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/eblume/caddy-registry/core/bucket"
)

// owed has the changes that are visible but not durable, because their barrier has not
// run yet or has failed: a tag or a manifest that was deleted, a tag that was moved. A
// power cut may undo them. So what they named before is not removed while they are
// owed: settle comes first.
type owed struct {
	mu   sync.Mutex
	keys map[string]map[string]struct{} // by repository; guarded by mu
}

// add notes changes. The caller holds the repository's lock, shared or not.
func (o *owed) add(repo string, keys ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		if o.keys == nil {
			o.keys = map[string]map[string]struct{}{}
		}
		if o.keys[repo] == nil {
			o.keys[repo] = map[string]struct{}{}
		}
		o.keys[repo][key] = struct{}{}
	}
}

func (o *owed) of(repo string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.keys[repo]))
}

func (o *owed) paid(repo string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.keys, repo)
}

// settle makes what is owed for repo durable. The caller holds its lock exclusively.
func (s *Store) settle(ctx context.Context, repo string) error {
	keys := s.owed.of(repo)
	if len(keys) == 0 {
		return nil
	}
	err := s.sync(ctx, keys...)
	if errors.Is(err, bucket.ErrSync) {
		// A key that was written again and lost fails every sync until it is deleted.
		for _, key := range keys {
			if _, statErr := s.bucket.Stat(ctx, key); errors.Is(statErr, bucket.ErrNotExist) {
				if err := s.remove(ctx, key); err != nil {
					return err
				}
			}
		}
		err = s.sync(ctx, keys...)
	}
	if err != nil {
		return err
	}
	s.owed.paid(repo)
	return nil
}
