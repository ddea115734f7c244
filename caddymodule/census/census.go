// Package census counts in the background what a registry stores: the bytes of each tree and
// of the largest private repositories, and the room on its disks. Metrics read the last
// counts, so that a scrape costs the same on any storage, and does not hang with a disk.
//
// A count looks at each file once. It runs every ten minutes, and after what has changed
// much; it rests ten times as long as it took, so that a large storage is not busy with being
// counted.
//
//	c := census.New(census.Config{Trees: …, Named: "private", Disks: …})
//	defer c.Close()
//	c.SetPublic(func(repo string) bool { … })
//	fmt.Println(c.Last().Trees["private"])
package census

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/rounds"
	"github.com/eblume/caddy-registry/core/store"
)

const (
	// spaceInterval is how often the disks are asked.
	spaceInterval = 15 * time.Second
	// most is how many repositories are counted by name: each is a label of a metric.
	most = 100
)

// Tree is content that is counted: a *store.Store.
type Tree interface {
	Contents(ctx context.Context) iter.Seq2[store.Content, error]
}

// Disk is what a tree lies on.
type Disk interface {
	// Space is what the disk has and what of it may be written yet, in bytes.
	Space() (free, total int64, err error)
}

// Config is what a Census counts. It stays the caller's.
type Config struct {
	// Trees are what is counted, by name.
	Trees map[string]Tree
	// Named is the tree whose repositories are counted too.
	Named string
	// Disks are those of the trees, by name. Of one that is not here nothing is known.
	Disks map[string]Disk
	// Counted is called after each count that succeeded. Default: nobody is told.
	Counted func()
	// Log receives what an operator should know. Default: discard.
	Log *slog.Logger
}

// Counts are what a Census knows.
type Counts struct {
	// Trees are the bytes of content by tree, each blob once. nil: not counted yet.
	Trees map[string]int64
	// At is when that count began.
	At time.Time
	// Largest are the largest repositories that everybody may know of, with the bytes of
	// each; a blob counts in each repository that holds it. Other is the sum of all others.
	Largest []Repository
	Other   int64
	// Spaces are the disks by tree.
	Spaces map[string]Space
}

// Repository is how many bytes a repository holds.
type Repository struct {
	Name  string
	Bytes int64
}

// Space is the room on a disk, in bytes.
type Space struct{ Free, Total int64 }

// Census counts. It is safe for concurrent use.
type Census struct {
	Config

	mu     sync.Mutex // guards what follows
	counts Counts
	public func(repo string) bool

	counting   *rounds.Rounds
	stop       context.CancelFunc // of measure
	background sync.WaitGroup
}

// New makes a Census, which begins to count. Close ends it.
func New(c Config) *Census {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Counted == nil {
		c.Counted = func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Census{Config: c, stop: stop, public: func(string) bool { return false }}
	s.counting = rounds.Start(s.round)
	s.background.Go(func() { s.measure(ctx) })
	return s
}

// Close ends the counting and waits for it.
func (s *Census) Close() error {
	s.stop()
	s.counting.Close()
	s.background.Wait()
	return nil
}

// SetPublic changes which repositories everybody may know of. Before, none are.
func (s *Census) SetPublic(public func(repo string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.public = public
	s.Poke()
}

// Poke has a count run soon.
func (s *Census) Poke() { s.counting.Poke() }

// Last returns what was counted last. A repository that has ceased to be public since is
// among the others.
func (s *Census) Last() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counts
	counts.Largest = nil
	for _, r := range s.counts.Largest {
		if s.public(r.Name) {
			counts.Largest = append(counts.Largest, r)
		} else {
			counts.Other += r.Bytes
		}
	}
	return counts
}

func (s *Census) round(ctx context.Context) {
	switch err := s.count(ctx); {
	case err == nil:
		s.Counted()
	case ctx.Err() == nil:
		s.Log.Warn("stored bytes were not counted", "error", err)
	}
}

// count looks at everything once.
func (s *Census) count(ctx context.Context) error {
	at := time.Now()
	trees, repos := map[string]int64{}, map[string]int64{}
	for name, tree := range s.Trees {
		var sum int64
		for content, err := range tree.Contents(ctx) {
			if err != nil {
				return fmt.Errorf("tree %s: %w", name, err)
			}
			sum += content.Size
			if name != s.Named {
				continue
			}
			for _, repo := range content.Repos {
				repos[repo] += content.Size
			}
		}
		trees[name] = sum
	}
	s.mu.Lock()
	public := s.public
	s.mu.Unlock()
	largest, other := rank(repos, public)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Trees, s.counts.At, s.counts.Largest, s.counts.Other = trees, at, largest, other
	return nil
}

// rank returns the largest public repositories, and the sum of all others.
func rank(repos map[string]int64, public func(string) bool) (largest []Repository, other int64) {
	for name, bytes := range repos {
		if public(name) {
			largest = append(largest, Repository{name, bytes})
		} else {
			other += bytes
		}
	}
	slices.SortFunc(largest, func(a, b Repository) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range largest[min(most, len(largest)):] {
		other += r.Bytes
	}
	return slices.Clone(largest[:min(most, len(largest))]), other
}

// measure asks the disks from time to time. One that hangs keeps its last figures.
func (s *Census) measure(ctx context.Context) {
	ticker := time.NewTicker(spaceInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		spaces := map[string]Space{}
		for name, disk := range s.Disks {
			if free, total, err := disk.Space(); err == nil {
				spaces[name] = Space{free, total}
			}
		}
		s.mu.Lock()
		s.counts.Spaces = spaces
		s.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}
