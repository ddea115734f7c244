package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// DefaultMaxKeys is how many valid keys one user may have: a few machines and jobs
	// each, and far fewer than would slow a start or fill a disk.
	DefaultMaxKeys = 50
	// maxDead is how many revoked or expired keys of one user are remembered, so that
	// the answer to their use can say why. Beyond it the ones that ended first are
	// forgotten, or making and revoking keys would fill the disk.
	maxDead = 200
)

// ErrTooManyKeys: the user has as many valid keys as one may have.
var ErrTooManyKeys = errors.New("too many valid keys")

// SetMaxKeys sets how many valid keys a user may have. A person and a service account
// of one name are two. Keys that exist stay. 0 or less is DefaultMaxKeys.
func (k *Keys) SetMaxKeys(n int) {
	if n <= 0 {
		n = DefaultMaxKeys
	}
	k.maxKeys.Store(int64(n))
}

// owner identifies the keys that are counted together.
type owner struct {
	user    string
	service bool
}

// of returns the keys of an owner, dead or not.
func (k *Keys) of(o owner) (keys []Key) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, held := range k.byID {
		if key := held.key.Load(); key.User == o.user && key.Service == o.service {
			keys = append(keys, *key)
		}
	}
	return keys
}

// Active returns the keys of a user that work now, newest first.
func (k *Keys) Active(user string) []Key {
	now := k.now()
	return slices.DeleteFunc(k.List(user), func(key Key) bool { return !key.Active(now) })
}

// room refuses a key beyond the limit of an owner. The caller holds creating.
func (k *Keys) room(o owner) error {
	valid, now := 0, k.now()
	for _, key := range k.of(o) {
		if key.Active(now) {
			valid++
		}
	}
	if most := k.maxKeys.Load(); int64(valid) >= most {
		return fmt.Errorf("%w: %s has %d, and may have %d; revoke one first, or wait until one expires", ErrTooManyKeys, o.user, valid, most)
	}
	return nil
}

// ended is when a key stopped to be good.
func (k Key) ended() time.Time {
	if !k.Revoked.IsZero() && k.Revoked.Before(k.Expires) {
		return k.Revoked
	}
	return k.Expires
}

// forgetDead removes the dead keys of an owner that ended first, if there are too many.
// The caller holds creating.
func (k *Keys) forgetDead(ctx context.Context, o owner) error {
	now := k.now()
	dead := slices.DeleteFunc(k.of(o), func(key Key) bool { return key.Active(now) })
	slices.SortFunc(dead, func(a, b Key) int { return a.ended().Compare(b.ended()) })
	var failed error
	for _, key := range dead[:max(0, len(dead)-maxDead)] {
		record, _ := k.records.get(key.ID)
		if err := k.records.remove(ctx, key.ID); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		k.mu.Lock()
		delete(k.byID, key.ID)
		delete(k.byHash, [32]byte(record.Hash))
		k.mu.Unlock()
		for _, name := range []string{"uses/" + key.ID, fromPrefix + key.ID, announcedPrefix + key.ID} {
			k.bucket.Delete(ctx, name) // a leftover statistic is harmless
		}
	}
	return failed
}
