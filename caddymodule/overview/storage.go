package overview

import (
	"context"
	"errors"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
)

// maxLargest bounds the repositories that Storage names.
const maxLargest = 10

// Stored is what is known of the storage without looking at the disk.
type Stored struct {
	Trees []Tree `json:"trees"`
	// Counted is as of when the bytes of the trees are known.
	Counted time.Time `json:"counted,omitzero"`
	// Verified is when the last verification of everything ended.
	Verified time.Time `json:"verified,omitzero"`
	// Collector is what the collector did and will do.
	Collector Collector `json:"collector"`
}

// Collector is what is known of the collections since the start, as of the end of the last one.
type Collector struct {
	// Next is when the next collection is due.
	Next time.Time `json:"next,omitzero"`
	// Ended is when the last one ended. Zero: none ran since the start, and what follows is unknown.
	Ended time.Time `json:"ended,omitzero"`
	// Early: it ended with an error.
	Early bool `json:"early,omitempty"`
	// Freed is the content that it removed.
	Freed *Amount `json:"freed,omitempty"`
	// Waiting is the content that nothing keeps, and that it left because a grace is not over. It is
	// absent if the collection ended early.
	Waiting *Amount `json:"waiting,omitempty"`
}

// Tree is a part of the storage, private or mirrors.
type Tree struct {
	Name string `json:"name"`
	// Bytes is its content, each blob once. It is absent as long as it is not counted.
	Bytes *int64 `json:"bytes,omitempty"`
	// Disk is what it lies on. Absent: unknown.
	Disk *Disk `json:"disk,omitempty"`
	// Quarantine is content that did not have its digest, and Damaged counts what was found damaged
	// since the start.
	Quarantine Amount `json:"quarantine"`
	Damaged    int    `json:"damaged"`
}

// Disk is the room on a disk, in bytes.
type Disk struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

// Amount is a number of objects and their bytes.
type Amount struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Storage is what administrators see of the storage.
type Storage struct {
	Stored
	// Largest are the largest repositories that the caller may read. A blob counts in each of them.
	Largest []Large `json:"largest"`
	// Rounds are the last ends of what the registry does by itself.
	Rounds []Round `json:"rounds"`
}

// Large is a repository with its size.
type Large struct {
	Repository string `json:"repository"`
	Bytes      int64  `json:"bytes"`
	Tags       int64  `json:"tags"`
	Manifests  int64  `json:"manifests"`
}

// Round is the end of a gc, verify, evict or purge.
type Round struct {
	Kind string    `json:"kind"`
	Time time.Time `json:"time"`
	Text string    `json:"text,omitempty"`
}

// Storage describes the storage. Errors: core.ErrNameUnknown for callers who do not administer the registry;
// those of core.Catalog.
func (v *Viewer) Storage(ctx context.Context) (Storage, error) {
	if !v.Admin() {
		return Storage{}, core.ErrNameUnknown
	}
	s := Storage{Stored: v.Source.Stored(), Largest: []Large{}, Rounds: []Round{}}
	for row, err := range v.Registry.RepositoryRows(ctx, "", core.RepositoriesBySize, "") {
		var pause *core.Pause
		if errors.As(err, &pause) {
			break
		}
		if err != nil {
			return Storage{}, err
		}
		if s.Largest = append(s.Largest, Large{row.Name, row.Bytes, row.Tags, row.Manifests}); len(s.Largest) == maxLargest {
			break
		}
	}
	for _, kind := range []string{"gc", "verify", "evict", "purge"} {
		for e, err := range v.Source.Events(ctx, events.Query{Kind: kind}, "") {
			if err == nil {
				s.Rounds = append(s.Rounds, Round{kind, e.Time, e.Text})
			}
			break
		}
	}
	return s, nil
}
