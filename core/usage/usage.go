// Package usage counts which clients use which mirror, and how they name it. The counts show
// mirrors that are not used. It keeps the counts in a bucket, and knows only the names of
// mirrors.
//
//	counter := usage.New(bucket, log)
//	defer counter.Close()
//	counter.Count("docker.io", "ns", "10.0.0.7")
//	uses, err := counter.Of(ctx, "docker.io")
package usage

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

	"github.com/eblume/caddy-registry/core/behind"
	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	prefix = "mirror/usage/"
	// interval is the time between two writes.
	interval = 30 * time.Second
	// age is how long a use is remembered.
	age = 30 * 24 * time.Hour
	// maxUses bounds the uses that are remembered of one mirror, in pairs of a form and a client.
	// The least recent ones are forgotten first.
	maxUses = 1024
)

// Use counts the requests of one client for a mirror, in one form.
type Use struct {
	// Form is the way in which the mirror was named: prefix, ns, site, fallback.
	Form string `json:"form"`
	// Client is the address of the client.
	Client   string    `json:"client"`
	Requests uint64    `json:"requests"` // since First
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

type use struct{ form, client string }

// Counter counts uses. A request costs one entry in memory; the entries are written in the
// background, as one object for each mirror, and a killed process loses less than a minute of
// them. It is safe for concurrent use.
type Counter struct {
	state bucket.Bucket
	log   *slog.Logger

	mu      sync.Mutex // guards counted
	counted map[string]map[use]Use

	behind  *behind.Writer
	merging sync.Mutex // held while an object is read and written again
}

// New makes a Counter that writes to state, the bucket of the mirrors. Close ends it, and must be
// called before state is closed. A nil log discards.
func New(state bucket.Bucket, log *slog.Logger) *Counter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	u := &Counter{state: state, log: log, counted: map[string]map[use]Use{}}
	u.behind = behind.Start(behind.Config{
		Every: interval, Write: u.flush, Log: log, Failed: "usage of mirrors cannot be written; it is kept in memory",
	})
	return u
}

// Close writes what is in memory. Errors are the bucket's.
func (u *Counter) Close() error { return u.behind.Close() }

// Count adds a request for a mirror. It does no I/O.
func (u *Counter) Count(mirror, form, client string) {
	now := time.Now().UTC()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(mirror, Use{Form: form, Client: client, Requests: 1, First: now, Last: now})
}

// add merges a use into the waiting ones, or drops it when there are too many. u.mu is held.
func (u *Counter) add(mirror string, more Use) {
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

// and merges two uses.
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

// Of returns the uses of a mirror within Age, the latest first, at most 1,024. Errors are the
// bucket's.
func (u *Counter) Of(ctx context.Context, mirror string) ([]Use, error) {
	u.merging.Lock()
	defer u.merging.Unlock()
	u.mu.Lock()
	more := make([]Use, 0, len(u.counted[mirror]))
	for _, one := range u.counted[mirror] {
		more = append(more, one)
	}
	u.mu.Unlock()
	return u.merged(ctx, mirror, more)
}

// merged adds more to the uses in the bucket, and drops those that are too old or too many.
func (u *Counter) merged(ctx context.Context, mirror string, more []Use) ([]Use, error) {
	data, _, err := u.state.Get(ctx, prefix+mirror)
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return nil, fmt.Errorf("usage of %s: %w", mirror, err)
	}
	var held []Use
	if err == nil {
		if err := json.Unmarshal(data, &held); err != nil {
			u.log.Warn("record of the usage of a mirror is damaged; counting starts again", "mirror", mirror, "error", err)
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
		if time.Since(one.Last) < age {
			uses = append(uses, one)
		}
	}
	slices.SortFunc(uses, func(a, b Use) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Form, b.Form))
	})
	return uses[:min(len(uses), maxUses)], nil
}

// flush writes the counts. Counts that cannot be written are kept for the next flush.
func (u *Counter) flush(ctx context.Context) error {
	u.merging.Lock()
	defer u.merging.Unlock()
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

func (u *Counter) write(ctx context.Context, mirror string, more []Use) error {
	uses, err := u.merged(ctx, mirror, more)
	if err != nil {
		return err
	}
	data, err := json.Marshal(uses)
	if err == nil {
		_, err = u.state.Put(ctx, prefix+mirror, data, bucket.Condition{})
	}
	if err != nil {
		return fmt.Errorf("usage of %s: %w", mirror, err)
	}
	return nil
}
