// Package hours counts for each mirror, by the hour, what it was asked and what it did about that:
// how often it answered from here, what its upstream answered, and the bytes of both sides. It keeps
// the last 720 hours (30 days) in a file.
//
//	counter := hours.Open(path, log)
//	defer counter.Close()
//	counter.Answered("docker.io", core.SourceHeld, 1234)
//	counter.Asked("docker.io", hours.OK)
//	for _, hour := range counter.Of("docker.io") { … }
//
// Counting does no I/O. The hours that changed are written once a minute, so a power cut or a kill
// loses at most that. Hours are in UTC. What is counted is bounded by the mirrors, whose names come
// from configurations.
package hours

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/behind"
	"github.com/eblume/caddy-registry/core/lasting"
)

const (
	// Kept is how many hours are kept.
	Kept = 720
	// interval is the time between two writes.
	interval = time.Minute
	// failsAgain is the time between two log lines about a disk that takes nothing.
	failsAgain = time.Hour
)

// Counts are what happened in some time.
type Counts struct {
	// Asked counts the requests of clients that were answered or failed, but for those that were
	// refused.
	Asked int64 `json:"asked"`
	// Held, Shared and Stale count answers from here: with stored content, with what another
	// process had learned, and with stored content that the upstream could not confirm. Fetched
	// counts answers for which the upstream was asked. The rest of Asked failed, or was for
	// something that does not exist.
	Held    int64 `json:"held"`
	Shared  int64 `json:"shared"`
	Stale   int64 `json:"stale"`
	Fetched int64 `json:"fetched"`
	// OK, Failed and Limited count requests to the upstream by their result: any answer, none or
	// one of its errors, and a rate limit.
	OK      int64 `json:"upstream_ok"`
	Failed  int64 `json:"upstream_failed"`
	Limited int64 `json:"upstream_limited"`
	// Served is how many bytes clients received, and Received how many came from the upstream as
	// blobs.
	Served   int64 `json:"bytes_served"`
	Received int64 `json:"bytes_fetched"`
}

// Here counts the answers from here.
func (c Counts) Here() int64 { return c.Held + c.Shared + c.Stale }

// Plus returns the sum of two.
func (c Counts) Plus(d Counts) Counts {
	return Counts{
		c.Asked + d.Asked, c.Held + d.Held, c.Shared + d.Shared, c.Stale + d.Stale, c.Fetched + d.Fetched,
		c.OK + d.OK, c.Failed + d.Failed, c.Limited + d.Limited, c.Served + d.Served, c.Received + d.Received,
	}
}

// Hour is what happened in one hour.
type Hour struct {
	// Begin is when it began, in UTC.
	Begin time.Time `json:"begin"`
	Counts
}

// Result is the result of a request to an upstream.
type Result uint8

// The results. See Counts.
const (
	OK Result = iota
	Failed
	Limited
)

// Counter counts. It is safe for concurrent use. A nil Counter counts nothing.
type Counter struct {
	file *lasting.File
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	counts map[string]map[int64]*Counts
	dirty  map[row]struct{}
	told   time.Time // when the log was told last that nothing can be written

	behind *behind.Writer
}

// row is an hour of a mirror, by its number since 1970.
type row struct {
	mirror string
	hour   int64
}

// hoursBucket has mirror 0 number of the hour -> sealed Counts.
var hoursBucket = []byte("hours 1")

// Open opens a Counter whose file is at path; empty: in memory. It does not fail: without its file it
// counts in memory. Close ends it. A nil log discards.
func Open(path string, log *slog.Logger) *Counter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Counter{log: log, counts: map[string]map[int64]*Counts{}, dirty: map[row]struct{}{}}
	c.file = lasting.Open(path, [][]byte{hoursBucket}, log)
	if path != "" {
		c.load()
	}
	c.behind = behind.Start(behind.Config{
		Every: interval, Write: c.flush, Log: log, Failed: "hours of mirrors cannot be written",
	})
	return c
}

// Answered counts an answer of a mirror to a client, with so many bytes. An empty source is that of an
// answer without content: the mirror failed, or has no such thing.
func (c *Counter) Answered(mirror string, source core.Source, bytes int64) {
	c.add(mirror, func(now *Counts) {
		now.Asked++
		now.Served += bytes
		switch source {
		case core.SourceHeld:
			now.Held++
		case core.SourceShared:
			now.Shared++
		case core.SourceStale:
			now.Stale++
		case core.SourceUpstream:
			now.Fetched++
		}
	})
}

// Asked counts a request of a mirror to its upstream.
func (c *Counter) Asked(mirror string, result Result) {
	c.add(mirror, func(now *Counts) {
		switch result {
		case OK:
			now.OK++
		case Failed:
			now.Failed++
		case Limited:
			now.Limited++
		}
	})
}

// Received counts bytes that a mirror received from its upstream.
func (c *Counter) Received(mirror string, bytes int64) {
	c.add(mirror, func(now *Counts) { now.Received += bytes })
}

func numberOf(t time.Time) int64 { return t.Unix() / 3600 }

func (c *Counter) add(mirror string, count func(*Counts)) {
	if c == nil {
		return
	}
	now := numberOf(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.counts[mirror]
	if of == nil {
		of = map[int64]*Counts{}
		c.counts[mirror] = of
	}
	counts := of[now]
	if counts == nil {
		counts = new(Counts)
		of[now] = counts
	}
	count(counts)
	c.dirty[row{mirror, now}] = struct{}{}
}

// Of returns the hours of a mirror in which something was counted, the oldest first, at most Kept.
func (c *Counter) Of(mirror string) []Hour {
	if c == nil {
		return nil
	}
	oldest := numberOf(time.Now()) - Kept
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Hour
	for number, counts := range c.counts[mirror] {
		if number > oldest {
			all = append(all, Hour{time.Unix(number*3600, 0).UTC(), *counts})
		}
	}
	slices.SortFunc(all, func(a, b Hour) int { return a.Begin.Compare(b.Begin) })
	return all
}

// Close writes what was counted. Errors are those of the disk.
func (c *Counter) Close() error {
	if c == nil {
		return nil
	}
	err := c.behind.Close()
	if closed := c.file.Close(); err == nil {
		err = closed
	}
	return err
}

// load reads the file. What was read before damage is kept, and written to the new file.
func (c *Counter) load() {
	err := c.file.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(hoursBucket).ForEach(func(k, v []byte) error {
			data, err := lasting.Unseal(k, v)
			if err != nil {
				return err
			}
			at, ok := parse(k)
			counts := new(Counts)
			if err := json.Unmarshal(data, counts); err != nil || !ok {
				return fmt.Errorf("%w: an hour cannot be read: %v", lasting.ErrDamaged, err)
			}
			if c.counts[at.mirror] == nil {
				c.counts[at.mirror] = map[int64]*Counts{}
			}
			c.counts[at.mirror][at.hour] = counts
			return nil
		})
	})
	if err != nil {
		c.spoil()
	}
}

// spoil has every hour written anew. c.mu is held, or nobody else has c.
func (c *Counter) spoil() {
	for mirror, of := range c.counts {
		for hour := range of {
			c.dirty[row{mirror, hour}] = struct{}{}
		}
	}
}

func (r row) key() []byte {
	return binary.BigEndian.AppendUint64(append([]byte(r.mirror), 0), uint64(r.hour))
}

func parse(k []byte) (row, bool) {
	at := bytes.IndexByte(k, 0)
	if at < 0 || len(k) != at+9 {
		return row{}, false
	}
	return row{string(k[:at]), int64(binary.BigEndian.Uint64(k[at+1:]))}, true
}

// flush writes the hours that changed, and forgets those that are too old.
func (c *Counter) flush(context.Context) error {
	now := time.Now()
	oldest := numberOf(now) - Kept
	c.mu.Lock()
	changed, gone := map[row]Counts{}, []row(nil)
	for mirror, of := range c.counts {
		for hour, counts := range of {
			r := row{mirror, hour}
			if hour <= oldest {
				gone = append(gone, r)
				delete(of, hour)
			} else if _, ok := c.dirty[r]; ok {
				changed[r] = *counts
			}
		}
		if len(of) == 0 {
			delete(c.counts, mirror)
		}
	}
	clear(c.dirty)
	c.mu.Unlock()
	if len(changed)+len(gone) == 0 {
		return nil
	}
	err := c.file.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(hoursBucket)
		for r, counts := range changed {
			data, err := json.Marshal(counts)
			if err != nil {
				return err
			}
			if err := b.Put(r.key(), lasting.Seal(r.key(), data)); err != nil {
				return err
			}
		}
		for _, r := range gone {
			if err := b.Delete(r.key()); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || err == lasting.ErrNone {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoil() // all, because a damaged file begins anew
	if now.Sub(c.told) < failsAgain {
		return nil
	}
	c.told = now
	return err
}
