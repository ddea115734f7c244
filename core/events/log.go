package events

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/behind"
	"github.com/eblume/caddy-registry/core/lasting"
)

const (
	// DefaultMost is how many events are kept.
	DefaultMost = 100_000
	// MaxAge is how long an event is kept.
	MaxAge = 90 * 24 * time.Hour
	// interval is the time between two writes.
	interval = time.Second
	// maxWaiting bounds the events in memory that are not written yet, about 10 MB. Each share has
	// at most half of it, so that a flood of refusals leaves room for pushes.
	maxWaiting = 8192
	// droppedAtOnce is how many events make room for others where there is no file.
	droppedAtOnce = 256
	// dropsAgain and failsAgain are the times between two log lines about events that were dropped,
	// and about a disk that takes nothing.
	dropsAgain = time.Minute
	failsAgain = time.Hour
)

// Config configures a Log.
type Config struct {
	// Path is the file. Empty: the newest events are kept in memory, at most 8,192.
	Path string
	// Most is how many events are kept. Default: DefaultMost.
	Most int
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
}

// Log is a record of events. It is safe for concurrent use.
type Log struct {
	log    *slog.Logger
	most   [shares]int
	file   *lasting.File
	memory bool // there is no file

	mu      sync.Mutex  // guards what follows
	waiting []Event     // for the disk, in the order of IDs
	of      [shares]int // how many of waiting are of a share
	last    uint64      // the ID given last
	dropped int         // since the last log line about it
	trimmed time.Time   // when old events were looked for last
	// When the log was told last that events were dropped, and that nothing can be written.
	toldDropped, toldFailed time.Time

	behind *behind.Writer
}

// Open opens a Log, or begins it. It does not fail: without its file it keeps events in memory.
// Close ends it.
func Open(c Config) *Log {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Most <= 0 {
		c.Most = DefaultMost
	}
	l := &Log{log: c.Log, file: lasting.Open(c.Path, buckets, c.Log), memory: c.Path == ""}
	l.last = l.newest()
	for share := range l.most {
		l.most[share] = max(1, c.Most*percent[share]/100)
	}
	l.behind = behind.Start(behind.Config{Every: interval, Write: l.flush, Log: c.Log, Failed: "events cannot be written"})
	return l
}

// Add adds an event; its Time and ID are set here. It does no I/O. When too many are waiting for the
// disk the event is dropped, and the log says how many were. A nil Log takes none.
func (l *Log) Add(e Event) {
	if l == nil {
		return
	}
	e = e.bounded()
	e.Time = time.Now().UTC()
	share := ShareOf(e.Kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= maxWaiting || l.of[share] >= maxWaiting/2 {
		if !l.memory {
			l.dropped++
			return
		}
		l.makeRoom(share)
	}
	// The time in the ID keeps the order over restarts without a look into the file.
	l.last = max(l.last+1, uint64(max(0, e.Time.UnixMicro())))
	e.ID = l.last
	l.waiting = append(l.waiting, e)
	l.of[share]++
}

// makeRoom drops old events from memory, of a share if that has too many. l.mu is held.
func (l *Log) makeRoom(share Share) {
	most := droppedAtOnce
	full := l.of[share] < maxWaiting/2
	l.waiting = slices.DeleteFunc(l.waiting, func(e Event) bool {
		of := ShareOf(e.Kind)
		if most == 0 || !full && of != share {
			return false
		}
		most--
		l.of[of]--
		return true
	})
}

// Close writes what is waiting. Errors are those of the disk.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	err := l.behind.Close()
	if closed := l.file.Close(); err == nil {
		err = closed
	}
	return err
}

// flush writes what is waiting, and forgets old events once an hour.
func (l *Log) flush(context.Context) error {
	if l.memory {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	batch, dropped := slices.Clip(l.waiting), 0
	if l.dropped > 0 && now.Sub(l.toldDropped) >= dropsAgain {
		dropped, l.dropped, l.toldDropped = l.dropped, 0, now
	}
	due := now.Sub(l.trimmed) >= time.Hour
	l.mu.Unlock()
	if dropped > 0 {
		l.log.Warn("events were not recorded, because too many waited for the disk", "dropped", dropped)
	}
	if len(batch) == 0 && !due {
		return nil
	}
	moved, err := l.write(batch, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if now.Sub(l.toldFailed) < failsAgain {
			return nil
		}
		l.toldFailed = now
		return err
	}
	l.trimmed, l.toldFailed, l.last = now, time.Time{}, l.last+moved
	for _, e := range batch {
		l.of[ShareOf(e.Kind)]--
	}
	l.waiting = slices.Clone(l.waiting[len(batch):])
	for i := range l.waiting {
		l.waiting[i].ID += moved
	}
	return nil
}
