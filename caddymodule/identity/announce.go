package identity

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// announceEvery is how often a key that ends soon is announced.
const announceEvery = 24 * time.Hour

// announcedPrefix has an object for each key that ends soon: when it was announced.
const announcedPrefix = "announced/"

// Announce returns the keys that end soon and were not announced for a day, and records them in
// the bucket, so that a restart does not announce them again. It is called by one goroutine at a
// time. Errors concern only the notes; the keys are returned nevertheless.
func (k *Keys) Announce(ctx context.Context) (due []Key, err error) {
	now := k.now()
	k.mu.RLock()
	all := maps.Clone(k.byID)
	k.mu.RUnlock()
	for id, held := range all {
		key := held.copy()
		switch {
		case key.Expiring(now) && now.Sub(held.announced) >= announceEvery:
			due = append(due, key)
			err = errors.Join(err, k.note(ctx, held, id, now))
		case !key.Expiring(now) && !held.announced.IsZero():
			err = errors.Join(err, k.note(ctx, held, id, time.Time{}))
		}
	}
	return due, err
}

// note records when a key was announced. The zero time removes the note.
func (k *Keys) note(ctx context.Context, held *heldKey, id string, at time.Time) error {
	held.announced = at
	if at.IsZero() {
		err := k.bucket.Delete(ctx, announcedPrefix+id)
		if errors.Is(err, bucket.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(at.UTC())
	if err != nil {
		return err
	}
	_, err = k.bucket.Put(ctx, announcedPrefix+id, data, bucket.Condition{})
	return err
}
