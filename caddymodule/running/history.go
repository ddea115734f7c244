package running

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/core/hours"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// history is what an open storage remembers of what happened. A command that opens the trees of a
// storage has none.
type history struct {
	events *events.Log
	hours  *hours.Counter
}

// openHistory opens the files in a directory; empty: it is kept in memory.
func openHistory(directory string, log *slog.Logger) *history {
	file := func(name string) string {
		if directory == "" {
			return ""
		}
		return filepath.Join(directory, name)
	}
	return &history{
		events: events.Open(events.Config{Path: file("events.db"), Log: log}),
		hours:  hours.Open(file("hours.db"), log),
	}
}

func (h *history) close() error {
	if h == nil {
		return nil
	}
	return errors.Join(h.events.Close(), h.hours.Close())
}

// add adds an event.
func (h *history) add(kind, text string) {
	if h != nil {
		h.events.Add(events.Event{Kind: kind, Text: text})
	}
}

// byHour counts mirrors; nil for a command.
func (h *history) byHour() *hours.Counter {
	if h == nil {
		return nil
	}
	return h.hours
}

// Record adds an event. Nothing is recorded while the storage is not open.
func (s *Storage) Record(e events.Event) {
	if h := s.history.Load(); h != nil {
		h.events.Add(e)
	}
}

// CountAnswer counts the answer of a mirror to a client by the hour: see hours.Counter.Answered.
func (s *Storage) CountAnswer(mirror string, source core.Source, bytes int64) {
	if source == observe.SourceNone {
		source = ""
	}
	s.history.Load().byHour().Answered(mirror, source, bytes)
}

// collected records the end of a collection.
func (h *history) collected(c control.Collected, err error) {
	text := fmt.Sprintf("removed %d manifests, %d blobs and %d uploads; freed %d bytes",
		c.Private.Manifests+c.Mirrors.Manifests, c.Private.Blobs+c.Mirrors.Blobs,
		c.Private.Uploads+c.Mirrors.Uploads, c.Private.Bytes+c.Mirrors.Bytes)
	if err != nil {
		text = "ended early; " + text
	}
	h.add("gc", text)
}

// verified records the end of a verification of everything.
func (h *history) verified(r *verify.Report) {
	h.add("verify", fmt.Sprintf("found %d damaged; moved %d to the quarantine; %d could not be examined",
		r.Found.Damaged, r.Moved, r.Found.Trouble))
}

// evictions sums up the evictions of one pass.
type evictions struct {
	history *history
	images  int
	bytes   int64
}

func (e *evictions) add(gone store.Evicted) {
	e.images += len(gone.Manifests)
	e.bytes += gone.Bytes
}

// passed records the end of a pass that evicted something.
func (e *evictions) passed() {
	if e.images > 0 {
		e.history.add("evict", fmt.Sprintf("removed %d manifests; freed %d bytes", e.images, e.bytes))
	}
	e.images, e.bytes = 0, 0
}
