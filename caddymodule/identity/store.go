package identity

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Options of Open.
type Options struct {
	// Log takes what nobody waits for: a last use that was not written.
	// Default: nothing is logged.
	Log *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Store is what is known about callers in one storage. It is safe for concurrent use.
// One process has it open.
type Store struct {
	bucket bucket.Bucket
	log    *slog.Logger
	now    func() time.Time
	keys   *Keys
	users  *Users

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Open reads the records of a bucket of their own, and writes last uses behind until
// Close. The bucket stays the caller's.
func Open(ctx context.Context, b bucket.Bucket, options Options) (*Store, error) {
	s := &Store{bucket: b, log: options.Log, now: options.Now}
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
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.stopped.Go(func() { s.writeUsesBehind(life) })
	return s, nil
}

// Keys are the API keys.
func (s *Store) Keys() *Keys { return s.keys }

// Users are the people.
func (s *Store) Users() *Users { return s.users }

// Close writes the last uses, and ends what Open began.
func (s *Store) Close() error {
	s.stop()
	s.stopped.Wait()
	return s.keys.writeUses(context.Background())
}

// useInterval is how often last uses are written: what a kill may lose of them.
const useInterval = time.Minute

func (s *Store) writeUsesBehind(ctx context.Context) {
	tick := time.NewTicker(useInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.keys.writeUses(ctx); err != nil {
				s.log.Warn("last uses of keys were not written", "error", err)
			}
		}
	}
}
