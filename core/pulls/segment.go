package pulls

import (
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// interval is between two writes: what was marked is in the bucket within a minute.
	interval = 30 * time.Second
	// maxSegment is at how many rows an object is written for the last time: what is
	// pulled afterwards goes into the next one, so that none large is written again and
	// again. It has 130 KiB then.
	maxSegment = 1024
	// maxRemembered bounds what is in memory: a row counts as one, and has some 200
	// bytes; a segment as segmentCost. When it is reached the writer is woken, and makes
	// room by forgetting what it has written; what it is too slow for is not counted.
	maxRemembered = 1 << 15
	segmentCost   = 4
	// settled is how long after its end a day may still be written. It is folded after
	// that, and no writer may bring its object back.
	settled = time.Hour
)

// segment is what this process has seen pulled of one repository since some moment of
// a day: the content of one object.
type segment struct {
	repo string
	day  int64 // days since 1970, UTC
	key  string

	manifests map[digest.Digest]Count
	tags      map[string]Count
	marked    time.Time // the last mark
	dirty     bool      // something is not in the bucket yet
	closed    bool      // no mark is added any more
}

func dayOf(at time.Time) int64 { return at.Unix() / (24 * 60 * 60) }

func startOf(day int64) time.Time { return time.Unix(day*24*60*60, 0).UTC() }

func nameOf(day int64) string { return startOf(day).Format(time.DateOnly) }

// isOver reports whether nobody writes the objects of day any more.
func isOver(day int64, now time.Time) bool { return !now.Before(startOf(day + 1).Add(settled)) }

func (s *segment) rows() int { return len(s.manifests) + len(s.tags) }

func (s *segment) cost() int { return s.rows() + segmentCost }

func (s *segment) record() Record {
	return Record{Manifests: maps.Clone(s.manifests), Tags: maps.Clone(s.tags)}
}

// mark counts a pull. With room it takes a new row, and reports how many it took.
func (s *segment) mark(d digest.Digest, tag string, at time.Time, room int) (took int) {
	took += count(&s.manifests, d, at, room)
	if tag != "" {
		took += count(&s.tags, tag, at, room-took)
	}
	s.marked, s.dirty = at, true
	return took
}

func count[K comparable](rows *map[K]Count, k K, at time.Time, room int) (took int) {
	c, ok := (*rows)[k]
	switch {
	case !ok && room <= 0:
		return 0
	case !ok:
		took = 1
	}
	if *rows == nil {
		*rows = map[K]Count{}
	}
	c.add(Count{N: 1, Last: at})
	(*rows)[k] = c
	return took
}
