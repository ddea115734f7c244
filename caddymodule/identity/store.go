package identity

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/core/behind"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Config configures a Store.
type Config struct {
	// Log receives errors of background work: a last use that was not written. Default:
	// nothing is logged.
	Log *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Store holds the keys and users of one storage. It is safe for concurrent use. Only
// one process may have it open.
type Store struct {
	bucket bucket.Bucket
	log    *slog.Logger
	now    func() time.Time
	keys   *Keys
	users  *Users

	uses *behind.Writer
}

// Open reads the records in b, which must have nothing else, and writes last uses in the
// background until Close. The bucket belongs to the caller.
func Open(ctx context.Context, b bucket.Bucket, config Config) (*Store, error) {
	s := &Store{bucket: b, log: config.Log, now: config.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	if s.users, err = openUsers(ctx, b, s.now); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	if s.keys, err = openKeys(ctx, b, s.now); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, one := range []struct {
		prefix, remedy string
		damaged        map[string]error
	}{
		{keysPrefix, "make a new key, and revoke this one to remove its record", s.keys.damaged},
		{usersPrefix, "start the user anew with `registry user enable`", s.users.damaged},
	} {
		for name, err := range one.damaged {
			s.log.Error("record of a key or user is damaged; the key or user is refused", "record", one.prefix+"/"+name, "error", err, "remedy", one.remedy)
		}
	}
	s.uses = behind.Start(behind.Config{
		Every: useInterval, Write: s.keys.writeUses, Log: s.log, Failed: "last uses of keys were not written",
	})
	return s, nil
}

// Examine returns the damaged records in a bucket, each with the key or user and a
// remedy. It changes nothing, and may be called while a Store is open.
func Examine(ctx context.Context, b bucket.Bucket) (damaged []string, err error) {
	_, keys, err := loadRecords(ctx, b, keysPrefix, checkKeyRecord)
	if err != nil {
		return nil, err
	}
	for id := range keys {
		damaged = append(damaged, fmt.Sprintf("key %s is refused: its record is damaged; make a new one, and run `registry key revoke %[1]s`", id))
	}
	_, users, err := loadRecords(ctx, b, usersPrefix, checkUserRecord)
	for name := range users {
		user, notHex := hex.DecodeString(name)
		if notHex != nil {
			damaged = append(damaged, fmt.Sprintf("%s/%s is the record of no user; remove the file", usersPrefix, name))
			continue
		}
		damaged = append(damaged, fmt.Sprintf("user %q is refused: the record is damaged; start it anew with `registry user enable`", user))
	}
	slices.Sort(damaged)
	return damaged, err
}

// Keys are the API keys.
func (s *Store) Keys() *Keys { return s.keys }

// Users are the people.
func (s *Store) Users() *Users { return s.users }

// Close writes the last uses, and ends what Open began.
func (s *Store) Close() error { return s.uses.Close() }

// useInterval is how often last uses are written, and so how many of them a kill may
// lose.
const useInterval = time.Minute
