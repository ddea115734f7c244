package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core"
)

const (
	// maxLists bounds the lists in memory, in bytes: some that are as long as an
	// upstream may send (see upstream.Client.Tags), or thousands of ordinary ones.
	maxLists = 32 << 20
	// entryOverhead is the memory of a list apart from its rows, and of a descriptor apart from
	// its texts.
	entryOverhead = 256
	// maxEmpty bounds the empty lists in memory. Clients choose these names.
	maxEmpty = 1 << 14
	// maxReading bounds the lists that are read and decoded at once.
	maxReading = 2
)

// list is a record of State with its time. The decoded list is also kept in memory: clients page
// through lists, and otherwise each page would read and decode all of it.
type list interface {
	at() time.Time
	weight() int64 // in bytes; 0: it is empty
}

// tagRows are the tags of a repository, in order. They are kept as one text with a line per tag,
// which takes a fraction of the memory of separate strings.
type tagRows struct {
	time  time.Time
	lines string // each with its line end
}

func newTagRows(at time.Time, tags []string) tagRows {
	slices.Sort(tags)
	var lines strings.Builder
	for _, tag := range slices.Compact(tags) {
		lines.WriteString(tag)
		lines.WriteByte('\n')
	}
	return tagRows{at, lines.String()}
}

func (r tagRows) at() time.Time { return r.time }
func (r tagRows) weight() int64 { return int64(len(r.lines)) }

// after yields the tags after tag. It finds the first one by binary search.
func (r tagRows) after(tag string) iter.Seq[string] {
	// The first offset whose line, or the line after it, has a greater tag.
	from := sort.Search(len(r.lines), func(i int) bool {
		start := strings.LastIndexByte(r.lines[:i], '\n') + 1
		return r.lines[start:start+strings.IndexByte(r.lines[start:], '\n')] > tag
	})
	return func(yield func(string) bool) {
		for rest := r.lines[from:]; rest != ""; {
			var line string
			line, rest, _ = strings.Cut(rest, "\n")
			if !yield(line) {
				return
			}
		}
	}
}

// MarshalJSON makes the record, in the form of earlier versions.
func (r tagRows) MarshalJSON() ([]byte, error) {
	tags := []string{}
	for tag := range r.after("") {
		tags = append(tags, tag)
	}
	return json.Marshal(tagsList{r.time, tags})
}

// UnmarshalJSON reads a record.
func (r *tagRows) UnmarshalJSON(data []byte) error {
	var record tagsList
	if err := json.Unmarshal(data, &record); err != nil {
		return err
	}
	*r = newTagRows(record.Time, record.Tags)
	return nil
}

func newReferrersList(at time.Time, found []core.Descriptor) referrersList {
	slices.SortFunc(found, func(a, b core.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	return referrersList{at, found}
}

func (l referrersList) at() time.Time { return l.Time }

func (l referrersList) weight() (sum int64) {
	for _, desc := range l.Referrers {
		sum += entryOverhead + int64(len(desc.MediaType)+len(desc.Digest)+len(desc.ArtifactType)+len(desc.Data))
		for key, value := range desc.Annotations {
			sum += int64(len(key)+len(value)) + entryOverhead/4
		}
	}
	return sum
}

// weigh returns the weight of a list in memory.
func weigh(key string, l list) int64 { return entryOverhead + int64(len(key)) + l.weight() }

// kept returns a list from memory, or from State. Concurrent callers share one read and decoding.
// Errors: the cause of ctx.
func kept[L list](ctx context.Context, m *Mirror, key string) (got L, ok bool, err error) {
	found, ok, put := m.lists.look(key)
	if ok {
		got, ok = found.(L)
		return got, ok, nil
	}
	type loaded struct {
		list L
		ok   bool
	}
	l, err := together(ctx, m, "mirror.list_record", "read "+key, func(ctx context.Context) (loaded, error) {
		select {
		case m.common.reading <- struct{}{}:
			defer func() { <-m.common.reading }()
		case <-ctx.Done():
			return loaded{}, context.Cause(ctx)
		}
		record, ok := recall[L](ctx, m, key)
		ok = ok && record.weight() > 0 && !future(record.at())
		if ok {
			put(record)
		}
		return loaded{record, ok}, nil
	})
	if !l.ok {
		var none L
		return none, false, err
	}
	return l.list, true, err
}
