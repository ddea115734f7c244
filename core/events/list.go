package events

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
)

const (
	// batchSize is how many rows of the file are read at once.
	batchSize = 256
	// MaxPassed is how many events a list passes over in a row because they are not asked for. It
	// then ends in a *core.Pause.
	MaxPassed = 10_000
)

// Query says which events a list has. Empty fields ask for nothing.
type Query struct {
	Repo, User, Kind string
	// Changes asks for events of the share Changes.
	Changes bool
}

func (q Query) fits(e Event) bool {
	return (q.Repo == "" || e.Repo == q.Repo) && (q.User == "" || e.User == q.User) &&
		(q.Kind == "" || e.Kind == q.Kind) && (!q.Changes || ShareOf(e.Kind) == Changes)
}

// At is the place of an event in every list, in the order of lists.
func At(e Event) string { return strconv.FormatUint(e.ID, 10) }

// ErrPlace is the error of a list that begins behind something that is not a place.
var ErrPlace = errors.New("not a place in a list of events")

// List yields events, the newest first, behind a place, which is the At of an earlier event or
// empty. Errors: ErrPlace, a *core.Pause, that of ctx. Events that cannot be read from the disk are
// left out: a damaged file is set aside, and the log says so.
func (l *Log) List(ctx context.Context, q Query, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		before := ^uint64(0)
		if after != "" {
			var err error
			if before, err = strconv.ParseUint(after, 10, 64); err != nil {
				yield(Event{}, ErrPlace)
				return
			}
		}
		if l == nil {
			return
		}
		oldest := uint64(max(0, time.Now().Add(-MaxAge).UnixMicro()))
		waiting, written := l.snapshot()
		passed := 0
		// show yields an event if it is asked for.
		show := func(e Event) bool {
			if !q.fits(e) {
				if passed++; passed >= MaxPassed {
					yield(Event{}, &core.Pause{After: At(e)})
					return false
				}
				return true
			}
			passed = 0
			return yield(e, nil)
		}
		for _, e := range slices.Backward(waiting) {
			if e.ID < before && e.ID >= oldest && !show(e) {
				return
			}
		}
		before = min(before, written)
		for {
			if err := ctx.Err(); err != nil {
				yield(Event{}, err)
				return
			}
			batch, next, err := l.read(q, before)
			if err != nil {
				return
			}
			for _, e := range batch {
				if e.ID < oldest || !show(e) {
					return
				}
			}
			if next == 0 {
				return
			}
			before = next
		}
	}
}

// snapshot returns the events that wait for the disk, and an ID above all that are written and not
// among them.
func (l *Log) snapshot() (waiting []Event, written uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, ^uint64(0)
	}
	return slices.Clone(l.waiting), l.waiting[0].ID
}

// read returns up to batchSize events of the file before an ID, the newest first, and where the list
// goes on, or 0.
func (l *Log) read(q Query, before uint64) (batch []Event, next uint64, err error) {
	bucket, name := q.index()
	err = l.file.View(func(tx *bbolt.Tx) error {
		batch, next = nil, 0
		prefix := []byte(nil)
		if name != "" {
			prefix = append([]byte(name), 0)
		}
		c := tx.Bucket(bucket).Cursor()
		k := last(c, binary.BigEndian.AppendUint64(slices.Clone(prefix), before))
		for ; bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+8; k, _ = c.Prev() {
			id := binary.BigEndian.Uint64(k[len(prefix):])
			if len(batch) == batchSize {
				next = id + 1
				return nil
			}
			e, err := get(tx, id)
			if err != nil {
				return err
			}
			batch = append(batch, e)
		}
		return nil
	})
	return batch, next, err
}

// last moves to the last key before k.
func last(c *bbolt.Cursor, k []byte) []byte {
	if found, _ := c.Seek(k); found == nil {
		found, _ = c.Last()
		return found
	}
	found, _ := c.Prev()
	return found
}

// index is the bucket that leads to the fewest events, with the name in it.
func (q Query) index() (bucket []byte, name string) {
	switch {
	case q.Repo != "":
		return reposBucket, q.Repo
	case q.User != "":
		return usersBucket, q.User
	case q.Kind != "":
		return kindsBucket, q.Kind
	case q.Changes:
		return sharesBucket, nameOf(Changes)
	}
	return eventsBucket, ""
}

// Last returns the newest event of a kind, if there is one.
func (l *Log) Last(ctx context.Context, kind string) (Event, bool) {
	for e, err := range l.List(ctx, Query{Kind: kind}, "") {
		return e, err == nil
	}
	return Event{}, false
}
