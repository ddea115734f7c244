package pulls

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// maxRows bounds the manifests, and the tags, of one record; those pulled longest
	// ago go first. A row has some 130 bytes, and the name of a user.
	maxRows = 50_000
	// maxDays bounds the days whose sums a record keeps.
	maxDays = 90
	// maxBy bounds the name of a user, in bytes. No kind of credential has a longer one.
	maxBy = 256
)

// Count is how often something was pulled, and when for the last time.
type Count struct {
	N    int64     `json:"n"`
	Last time.Time `json:"last"`
	// By is the user of the last pull. Empty: unknown or anonymous, as in records that were written
	// before there was a name.
	By string `json:"by,omitempty"`
}

// UnmarshalJSON also reads the bare time that a record of layout 2 has.
func (c *Count) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte{'"'}) {
		*c = Count{}
		return json.Unmarshal(data, &c.Last)
	}
	type plain Count
	return json.Unmarshal(data, (*plain)(c))
}

func (c *Count) add(other Count) {
	c.N += other.N
	switch order := other.Last.Compare(c.Last); {
	case order > 0, order == 0 && other.By > c.By: // in any order the same
		c.Last, c.By = other.Last, other.By
	}
}

// Record holds the pulls of one repository.
type Record struct {
	Manifests map[digest.Digest]Count `json:"manifests,omitempty"`
	Tags      map[string]Count        `json:"tags,omitempty"`
	// Days has the pulls of manifests by day (UTC, 2006-01-02). A pull by tag is also a pull of
	// its manifest.
	Days map[string]int64 `json:"days,omitempty"`
	// Folded names the objects that the last fold has added and was about to remove: a
	// fold that was cut off must not add them twice.
	Folded []string `json:"folded,omitempty"`
}

// since returns what r has counted beyond an earlier record of the same object.
func (r Record) since(earlier Record) Record {
	return Record{Manifests: beyond(r.Manifests, earlier.Manifests), Tags: beyond(r.Tags, earlier.Tags)}
}

func beyond[K comparable](now, earlier map[K]Count) map[K]Count {
	more := map[K]Count{}
	for k, c := range now {
		if n := c.N - earlier[k].N; n > 0 {
			more[k] = Count{N: n, Last: c.Last, By: c.By}
		}
	}
	return more
}

// add adds the counts of one day.
func (r *Record) add(day string, other Record) {
	addTo(&r.Manifests, other.Manifests)
	addTo(&r.Tags, other.Tags)
	r.sumDay(day, other.Manifests)
}

// sumDay adds the pulls of manifests to those of a day.
func (r *Record) sumDay(day string, manifests map[digest.Digest]Count) {
	var n int64
	for _, c := range manifests {
		n += c.N
	}
	if n > 0 {
		if r.Days == nil {
			r.Days = map[string]int64{}
		}
		r.Days[day] += n
	}
}

func addTo[K comparable](into *map[K]Count, from map[K]Count) {
	if *into == nil {
		*into = make(map[K]Count, len(from))
	}
	for k, c := range from {
		sum := (*into)[k]
		sum.add(c)
		(*into)[k] = sum
	}
}

// retain drops the manifests and tags that keep rejects, and those beyond the bounds. It reports
// whether it dropped any.
func (r *Record) retain(keep Keep) (dropped bool) {
	before := len(r.Manifests) + len(r.Tags) + len(r.Days)
	maps.DeleteFunc(r.Manifests, func(d digest.Digest, _ Count) bool { return keep.Manifest != nil && !keep.Manifest(d) })
	maps.DeleteFunc(r.Tags, func(tag string, _ Count) bool { return keep.Tag != nil && !keep.Tag(tag) })
	newest(r.Manifests)
	newest(r.Tags)
	days := slices.Sorted(maps.Keys(r.Days))
	for _, day := range days[:max(0, len(days)-maxDays)] {
		delete(r.Days, day)
	}
	return len(r.Manifests)+len(r.Tags)+len(r.Days) < before
}

// newest leaves the maxRows that were pulled last.
func newest[K comparable](rows map[K]Count) {
	if len(rows) <= maxRows {
		return
	}
	times := make([]time.Time, 0, len(rows))
	for _, c := range rows {
		times = append(times, c.Last)
	}
	slices.SortFunc(times, time.Time.Compare)
	oldest := times[len(times)-maxRows]
	maps.DeleteFunc(rows, func(_ K, c Count) bool { return c.Last.Before(oldest) })
}

// empty reports whether the record has no manifests and tags. The sums of days alone do not keep
// a record: the repository is gone.
func (r *Record) empty() bool { return len(r.Manifests) == 0 && len(r.Tags) == 0 }

// Keep selects the rows of a repository's record that are still needed; nil means all.
type Keep struct {
	Manifest func(digest.Digest) bool
	Tag      func(tag string) bool
}
