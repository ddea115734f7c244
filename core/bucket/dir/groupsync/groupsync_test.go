package groupsync

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// takes is how long the disk of a test takes for any sync, in fake time.
const takes = time.Millisecond

// counted is a Syncer whose syncs are counted, over a disk that is slow.
type counted struct {
	*Syncer
	ones atomic.Int64
	alls atomic.Int64
	fail error // the error of a sync of everything

	mu   sync.Mutex
	made []span // syncs of everything; guarded by mu
}

// span is the time during which a sync of everything was made.
type span struct{ from, to time.Time }

func newCounted(log slog.Handler) *counted {
	c := &counted{}
	c.Syncer = New(func(*os.File) error {
		c.ones.Add(1)
		time.Sleep(takes)
		return nil
	}, slog.New(log))
	c.Together(func() error {
		c.alls.Add(1)
		from := time.Now()
		time.Sleep(takes)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.made = append(c.made, span{from, time.Now()})
		return c.fail
	}, 0)
	return c
}

// crowd lets many callers sync many times, and returns the time during which each waited.
func (c *counted) crowd(t *testing.T, many, times int) []span {
	t.Helper()
	var mu sync.Mutex
	var waited []span
	var group sync.WaitGroup
	for range many {
		group.Go(func() {
			for range times {
				from := time.Now()
				if err := c.File(nil); err != nil {
					t.Errorf("sync: %v", err)
				}
				mu.Lock()
				waited = append(waited, span{from, time.Now()})
				mu.Unlock()
				time.Sleep(takes / 7) // so that they do not all come at the same instant
			}
		})
	}
	group.Wait()
	return waited
}

func TestFewSyncsAreMadeOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(slog.DiscardHandler)
		c.crowd(t, groupFrom-1, 20)
		if ones, alls := c.ones.Load(), c.alls.Load(); ones != 20*(groupFrom-1) || alls != 0 {
			t.Errorf("%d syncs by themselves and %d of everything, want only the former", ones, alls)
		}
	})
}

func TestManySyncsAreMadeAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(slog.DiscardHandler)
		const many, times = 4 * groupFrom, 50
		waited := c.crowd(t, many, times)
		if alls := c.alls.Load(); alls == 0 || alls > 2*times+2 {
			t.Errorf("%d syncs of everything for %d callers with %d each, want one for each step or two", alls, many, times)
		}
		if ones := c.ones.Load(); ones > groupFrom {
			t.Errorf("%d syncs by themselves beside the groups, want those before the first group only", ones)
		}
		if got := c.Groups(); got != uint64(c.alls.Load()) {
			t.Errorf("%d groups are counted of %d", got, c.alls.Load())
		}
		// A caller that did not sync alone has waited for a whole sync of everything
		// that began after it came.
		alone := 0
		for _, w := range waited {
			covered := false
			for _, m := range c.made {
				covered = covered || !m.from.Before(w.from) && !m.to.After(w.to)
			}
			if !covered {
				alone++
			}
		}
		if ones := c.ones.Load(); int64(alone) > ones {
			t.Errorf("%d callers returned without a sync that covers them, and %d synced by themselves", alone, ones)
		}
	})
}

func TestGroupsEndWithTheCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(slog.DiscardHandler)
		c.crowd(t, 4*groupFrom, 5)
		crowd := c.alls.Load()
		c.ones.Store(0)
		const times = 2 * smallGroups
		c.crowd(t, 1, times)
		if alls := c.alls.Load() - crowd; alls > smallGroups {
			t.Errorf("a single caller had %d syncs of everything after the crowd, want at most %d", alls, smallGroups)
		}
		if ones := c.ones.Load(); ones < times-smallGroups {
			t.Errorf("a single caller had %d of %d syncs to itself", ones, times)
		}
	})
}

// The failure of a sync of everything does not show which file is affected, so each is synced
// by itself. Too much unwritten data is not a failure.
func TestASyncOfEverythingThatFails(t *testing.T) {
	for _, tt := range []struct {
		fail   error
		warned bool
	}{
		{errors.New("input/output error"), true},
		{errBusy, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			c := newCounted(slog.NewTextHandler(&log, nil))
			c.fail = tt.fail
			const many, times = 4 * groupFrom, 5
			c.crowd(t, many, times)
			if ones := c.ones.Load(); ones != many*times {
				t.Errorf("%v: %d syncs by themselves, want all %d", tt.fail, ones, many*times)
			}
			if c.alls.Load() == 0 || c.Groups() != 0 {
				t.Errorf("%v: %d tries and %d groups, want some tries that do not count", tt.fail, c.alls.Load(), c.Groups())
			}
			if warned := strings.Contains(log.String(), "level=WARN"); warned != tt.warned {
				t.Errorf("%v: warned %v, want %v", tt.fail, warned, tt.warned)
			}
		})
	}
}

func TestABucketOnAnotherDiskEndsTheGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(slog.DiscardHandler)
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(5 * takes)
			c.Never()
		})
		c.crowd(t, 4*groupFrom, 20)
		group.Wait()
		before := c.alls.Load()
		c.crowd(t, 4*groupFrom, 20)
		if before == 0 || c.alls.Load() != before {
			t.Errorf("%d syncs of everything and then %d more, want some and no more", before, c.alls.Load()-before)
		}
	})
}

// This test makes the real call where it exists. integration/blockcut shows its effect in a
// power cut.
func TestSyncAll(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if all := All(f); all != nil {
		if err := all(); err != nil && !errors.Is(err, errBusy) {
			t.Errorf("sync of everything: %v", err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if All(null) != nil {
		t.Error("a device in memory is taken for a disk whose syncs are known")
	}
}
