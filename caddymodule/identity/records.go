package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/eblume/caddy-registry/caddymodule/record"
	"github.com/eblume/caddy-registry/core/bucket"
)

// records keeps one kind of record: a JSON object each, below a prefix of the bucket,
// and all of them in memory. The bucket belongs to this process, so memory is never
// behind it.
type records[T any] struct {
	bucket bucket.Bucket
	prefix string // without a slash

	writing sync.Mutex // held from before the disk is written until memory has changed

	mu     sync.RWMutex // guards values
	values map[string]T
}

// loadRecords reads the records in the bucket. Those that cannot be read, or that check refuses,
// are left out: damaged has the reasons, by name. One damaged record must not block the others.
func loadRecords[T any](ctx context.Context, b bucket.Bucket, prefix string, check func(name string, value T) error) (r *records[T], damaged map[string]error, err error) {
	r, damaged = &records[T]{bucket: b, prefix: prefix, values: map[string]T{}}, map[string]error{}
	for info, err := range b.List(ctx, prefix+"/", "") {
		if err != nil {
			return nil, nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		name := path.Base(info.Key)
		data, _, err := b.Get(ctx, info.Key)
		switch {
		case errors.Is(err, bucket.ErrNotExist):
			continue // removed meanwhile
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			damaged[name] = err
			continue
		}
		var value T
		if err = record.Decode(data, &value); err == nil && check != nil {
			err = check(name, value)
		}
		if err != nil {
			damaged[name] = err
			continue
		}
		r.values[name] = value
	}
	return r, damaged, nil
}

func (r *records[T]) get(name string) (T, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	value, ok := r.values[name]
	return value, ok
}

// all returns the records in the order of their names.
func (r *records[T]) all() (names []string, values map[string]T) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.values)), maps.Clone(r.values)
}

// remove removes a record, and returns when that is durable.
func (r *records[T]) remove(ctx context.Context, name string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	ctx, key := context.WithoutCancel(ctx), r.prefix+"/"+name
	if err := r.bucket.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return err
	}
	if err := bucket.Sync(ctx, r.bucket, key); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.values, name)
	r.mu.Unlock()
	return nil
}

// update changes a record, or makes it, and returns when that is durable. change gets
// the present record and whether there is one, and must not keep or alter what it
// refers to; its error changes nothing.
func (r *records[T]) update(ctx context.Context, name string, change func(value T, exists bool) (T, error)) (T, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	old, exists := r.get(name)
	value, err := change(old, exists)
	if err != nil {
		return old, err
	}
	data, err := record.Encode(value)
	if err != nil {
		return old, err
	}
	key := r.prefix + "/" + name
	// When the caller is gone, a change must not be on the disk and missing in memory.
	ctx = context.WithoutCancel(ctx)
	if _, err := r.bucket.Put(ctx, key, data, bucket.Condition{}); err != nil {
		return old, err
	}
	if err := bucket.Sync(ctx, r.bucket, key); err != nil {
		return old, err
	}
	r.mu.Lock()
	r.values[name] = value
	r.mu.Unlock()
	return value, nil
}
