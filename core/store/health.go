package store

import (
	"context"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// probeKey is the object that Writable writes. It is next to the record of the layout, where no
// list finds it.
const probeKey = "probe"

// Readable reads the one record that every open store has. It returns the reason if that
// fails: the directory is gone, or the disk reports errors.
func (s *Store) Readable(ctx context.Context) error {
	if _, _, err := s.bucket.Get(ctx, layoutKey); err != nil {
		return fmt.Errorf("read the record of the storage's layout: %w", err)
	}
	return nil
}

// Writable writes a small object and makes it durable, as a push does. It returns the
// reason if that fails. Errors also: core.ErrNoSpace.
func (s *Store) Writable(ctx context.Context) error {
	now := s.now().UTC().Format(time.RFC3339)
	if _, err := s.bucket.Put(ctx, probeKey, []byte(now), bucket.Condition{}); err != nil {
		return s.failed("write a probe", err)
	}
	return s.sync(ctx, probeKey)
}

// Indexed reports whether lists are answered from the names. While these are rebuilt, lists
// scan the storage.
func (s *Store) Indexed() bool { return s.names.Ready() }
