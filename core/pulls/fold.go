package pulls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// maxFold bounds the objects of one fold, whose names are in the record for a moment; the rest is
// folded the next time.
const maxFold = 1000

// Fold adds the days of repo that are over to its record, removes their objects, and
// drops from the record what keep denies. Errors are the bucket's; objects that were not folded
// stay for the next time, and nothing is added twice.
func (t *Times) Fold(ctx context.Context, repo string, keep Keep) error {
	t.folding.Lock()
	defer t.folding.Unlock()
	if err := t.fold(ctx, repo, keep); err != nil {
		return fmt.Errorf("fold pulls of %s: %w", repo, err)
	}
	return nil
}

func (t *Times) fold(ctx context.Context, repo string, keep Keep) error {
	record, err := t.read(ctx, repo)
	if err != nil {
		return err
	}
	now := time.Now()
	var names, keys []string
	added := false
	for object, err := range t.days(ctx, repo) {
		if err != nil {
			return err
		}
		if !isOver(object.day, now) {
			continue
		}
		if len(keys) == maxFold {
			break
		}
		name := object.key[strings.LastIndexByte(object.key, '/')+1:]
		if !slices.Contains(record.Folded, name) {
			one, err := t.get(ctx, repo, object.key)
			if err != nil {
				return err
			}
			record.add(nameOf(object.day), one)
			added = true
		}
		names, keys = append(names, name), append(keys, object.key)
	}
	dropped := record.retain(keep)
	key := t.prefix + repo + recordPart
	switch {
	case record.empty():
		if err := t.remove(ctx, keys...); err != nil {
			return err
		}
		return t.remove(ctx, key)
	case added || dropped:
		record.Folded = names
		data, err := json.Marshal(record)
		if err == nil {
			_, err = t.bucket.Put(ctx, key, data, bucket.Condition{})
		}
		if err == nil {
			err = bucket.Sync(ctx, t.bucket, key)
		}
		if err != nil {
			return err
		}
	}
	return t.remove(ctx, keys...)
}

// remove deletes objects for good: one that came back after a power cut would be added
// again once the record does not name it any more.
func (t *Times) remove(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	for _, key := range keys {
		if err := t.bucket.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return err
		}
	}
	return bucket.Sync(ctx, t.bucket, keys...)
}

// dayObject is the object of a day and process.
type dayObject struct {
	key string
	day int64
}

// days yields the objects of a repository, the oldest day first.
func (t *Times) days(ctx context.Context, repo string) iter.Seq2[dayObject, error] {
	return func(yield func(dayObject, error) bool) {
		prefix := t.prefix + repo + daysPart
		for info, err := range t.bucket.List(ctx, prefix, "") {
			if err != nil {
				yield(dayObject{}, fmt.Errorf("pulls of %s: %w", repo, err))
				return
			}
			day, _, ok := strings.Cut(strings.TrimPrefix(info.Key, prefix), "+")
			at, err := time.Parse(time.DateOnly, day)
			if !ok || err != nil {
				continue // not ours
			}
			if !yield(dayObject{info.Key, dayOf(at)}, nil) {
				return
			}
		}
	}
}
