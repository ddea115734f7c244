package pulls

import (
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// interval is the time between two writes: marks are in the bucket within a minute.
	interval = 30 * time.Second
	// maxSegment is the number of rows at which an object is written for the last time: later
	// pulls go into the next one, so that no large object is rewritten repeatedly. Such an object
	// has 130 KiB, and at most four times that with the names of users.
	maxSegment = 1024
	// maxRemembered bounds the memory: a row counts as one, and has about 400 bytes; a segment
	// counts as segmentCost. When it is reached, the writer is woken, and frees memory by
	// forgetting what it has written. Pulls that come faster are not counted.
	maxRemembered = 1 << 15
	segmentCost   = 4
	// settled is how long after its end a day may still be written. It is folded after
	// that, and no writer may bring its object back.
	settled = time.Hour
)

// segment holds the pulls of one repository that this process has seen since some moment of a
// day: the content of one object.
type segment struct {
	repo string
	day  int64 // days since 1970, UTC
	key  string

	manifests map[digest.Digest]Count
	tags      map[string]Count
	marked    time.Time // the last mark
	dirty     bool      // it has marks that are not in the bucket yet
	closed    bool      // no mark is added any more
	told      Record    // what Config.Written was told; only the writer uses it
}

func dayOf(at time.Time) int64 { return at.Unix() / (24 * 60 * 60) }

func startOf(day int64) time.Time { return time.Unix(day*24*60*60, 0).UTC() }

func nameOf(day int64) string { return startOf(day).Format(time.DateOnly) }

// isOver reports whether the objects of day are not written any more.
func isOver(day int64, now time.Time) bool { return !now.Before(startOf(day + 1).Add(settled)) }

func (s *segment) rows() int { return len(s.manifests) + len(s.tags) }

func (s *segment) cost() int { return s.rows() + segmentCost }

func (s *segment) record() Record {
	return Record{Manifests: maps.Clone(s.manifests), Tags: maps.Clone(s.tags)}
}

// mark counts a pull. It adds new rows within room, and returns how many it added.
func (s *segment) mark(d digest.Digest, tag, by string, at time.Time, room int) (took int) {
	pull := Count{N: 1, Last: at, By: by}
	took += count(&s.manifests, d, pull, room)
	if tag != "" {
		took += count(&s.tags, tag, pull, room-took)
	}
	s.marked, s.dirty = at, true
	return took
}

func count[K comparable](rows *map[K]Count, k K, pull Count, room int) (took int) {
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
	c.add(pull)
	(*rows)[k] = c
	return took
}
