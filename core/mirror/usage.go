package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	usagePrefix = "mirror/usage/"
	// usageInterval is between two writes.
	usageInterval = 30 * time.Second
	// UsageAge is how long it is remembered that somebody asked.
	UsageAge = 30 * 24 * time.Hour
	// maxUses bounds what is remembered of one mirror, in forms and clients. Who has
	// not asked for longest is forgotten first.
	maxUses = 1024
)

// Use is who asked a mirror, and how.
type Use struct {
	// Form is the way in which the mirror was named: prefix, ns, site, fallback.
	Form string `json:"form"`
	// Client is the address of who asked.
	Client   string    `json:"client"`
	Requests uint64    `json:"requests"` // since First
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

type use struct{ form, client string }

// Usage remembers who asks which mirror: one that nobody asks is seen by that. A
// request costs one entry in memory; what has gathered is written behind, one object a
// mirror, and a killed process loses less than a minute of it.
type Usage struct {
	state bucket.Bucket
	log   *slog.Logger

	mu      sync.Mutex // guards counted
	counted map[string]map[use]Use

	writing    sync.Mutex // held while an object is read and written again
	stop       context.CancelFunc
	background sync.WaitGroup
}

// NewUsage begins to remember in state, the bucket of the mirrors. Close ends it, ahead
// of state. A nil log discards.
func NewUsage(state bucket.Bucket, log *slog.Logger) *Usage {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	u := &Usage{state: state, log: log, counted: map[string]map[use]Use{}, stop: stop}
	u.background.Go(func() { u.run(ctx) })
	return u
}

func (u *Usage) run(ctx context.Context) {
	for sleep(ctx, usageInterval, nil) {
		if err := u.flush(ctx); err != nil && ctx.Err() == nil {
			u.log.Warn("usage of mirrors cannot be written; it is kept in memory", "error", err)
		}
	}
}

// Close writes what is in memory.
func (u *Usage) Close() error {
	u.stop()
	u.background.Wait()
	return u.flush(context.Background())
}

// Count notes a request for a mirror. It does no I/O.
func (u *Usage) Count(mirror, form, client string) {
	now := time.Now().UTC()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(mirror, Use{Form: form, Client: client, Requests: 1, First: now, Last: now})
}

// add takes in a use, or drops it when too many wait. u.mu is held.
func (u *Usage) add(mirror string, more Use) {
	of := u.counted[mirror]
	if of == nil {
		of = map[use]Use{}
		u.counted[mirror] = of
	}
	key := use{more.Form, more.Client}
	held, ok := of[key]
	if !ok && len(of) >= maxUses {
		return
	}
	of[key] = held.and(more)
}

// and is two uses as one.
func (a Use) and(b Use) Use {
	if a.Requests == 0 {
		return b
	}
	a.Requests += b.Requests
	if b.First.Before(a.First) {
		a.First = b.First
	}
	if b.Last.After(a.Last) {
		a.Last = b.Last
	}
	return a
}

// Of returns who asked a mirror within UsageAge, the last first. Errors are the
// bucket's.
func (u *Usage) Of(ctx context.Context, mirror string) ([]Use, error) {
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	more := make([]Use, 0, len(u.counted[mirror]))
	for _, one := range u.counted[mirror] {
		more = append(more, one)
	}
	u.mu.Unlock()
	return u.merged(ctx, mirror, more)
}

// merged adds more to what the bucket has, without what is too old or too much.
func (u *Usage) merged(ctx context.Context, mirror string, more []Use) ([]Use, error) {
	data, _, err := u.state.Get(ctx, usagePrefix+mirror)
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return nil, fmt.Errorf("usage of %s: %w", mirror, err)
	}
	var held []Use
	if err == nil {
		if err := json.Unmarshal(data, &held); err != nil {
			u.log.Warn("usage of a mirror is damaged, and begun again", "mirror", mirror, "error", err)
			held = nil
		}
	}
	all := map[use]Use{}
	for _, one := range append(held, more...) {
		key := use{one.Form, one.Client}
		all[key] = all[key].and(one)
	}
	uses := make([]Use, 0, len(all))
	for _, one := range all {
		if time.Since(one.Last) < UsageAge {
			uses = append(uses, one)
		}
	}
	slices.SortFunc(uses, func(a, b Use) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Form, b.Form))
	})
	return uses[:min(len(uses), maxUses)], nil
}

// flush writes what was counted. What cannot be written waits for the next time.
func (u *Usage) flush(ctx context.Context) error {
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	counted := u.counted
	u.counted = map[string]map[use]Use{}
	u.mu.Unlock()
	var failed []error
	for mirror, of := range counted {
		more := make([]Use, 0, len(of))
		for _, one := range of {
			more = append(more, one)
		}
		if err := u.write(ctx, mirror, more); err != nil {
			failed = append(failed, err)
			u.mu.Lock()
			for _, one := range more {
				u.add(mirror, one)
			}
			u.mu.Unlock()
		}
	}
	return errors.Join(failed...)
}

func (u *Usage) write(ctx context.Context, mirror string, more []Use) error {
	uses, err := u.merged(ctx, mirror, more)
	if err != nil {
		return err
	}
	data, err := json.Marshal(uses)
	if err == nil {
		_, err = u.state.Put(ctx, usagePrefix+mirror, data, bucket.Condition{})
	}
	if err != nil {
		return fmt.Errorf("usage of %s: %w", mirror, err)
	}
	return nil
}
