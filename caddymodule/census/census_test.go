package census

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core/store"
)

// tree is content in memory.
type tree struct {
	contents []store.Content
	takes    time.Duration
	counted  atomic.Int32
	// failsFrom is the first count that fails; 0: none does.
	failsFrom int32
}

func (t *tree) Contents(context.Context) iter.Seq2[store.Content, error] {
	return func(yield func(store.Content, error) bool) {
		n := t.counted.Add(1)
		time.Sleep(t.takes)
		for _, c := range t.contents {
			if !yield(c, nil) {
				return
			}
		}
		if t.failsFrom > 0 && n >= t.failsFrom {
			yield(store.Content{}, errors.New("input/output error"))
		}
	}
}

type disk struct{ free, total int64 }

func (d disk) Space() (free, total int64, err error) { return d.free, d.total, nil }

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		private, mirrors := &tree{}, &tree{contents: []store.Content{{Size: 7, Repos: []string{"docker.io/a"}}}}
		// 150 repositories that everybody may read, one larger than the other, and a secret one
		// that is larger than all of them; one blob is in two.
		var all int64
		for i := range int64(150) {
			private.contents = append(private.contents, store.Content{Size: 10 + i, Repos: []string{fmt.Sprintf("open/%03d", i)}})
			all += 10 + i
		}
		private.contents = append(private.contents, store.Content{Size: 1000, Repos: []string{"open/149", "secret/app"}})
		c := New(Config{
			Trees: map[string]Tree{"private": private, "mirrors": mirrors}, Named: "private",
			Disks: map[string]Disk{"private": disk{3, 10}},
		})
		defer c.Close()
		c.SetPublic(func(repo string) bool { return strings.HasPrefix(repo, "open/") })
		time.Sleep(time.Minute) // the first count may have been before
		synctest.Wait()
		got := c.Last()
		if got.Trees["private"] != all+1000 || got.Trees["mirrors"] != 7 {
			t.Errorf("the trees have %v bytes, want %d and 7", got.Trees, all+1000)
		}
		if len(got.Largest) != most || got.Largest[0] != (Repository{"open/149", 159 + 1000}) || got.Largest[99].Name != "open/050" {
			t.Errorf("%d are largest: %v", len(got.Largest), got.Largest)
		}
		var named int64
		for _, r := range got.Largest {
			named += r.Bytes
		}
		// The shared blob counts in both repositories.
		if named+got.Other != all+2000 {
			t.Errorf("named %d and other %d are not %d", named, got.Other, all+2000)
		}
		if got.Spaces["private"] != (Space{3, 10}) {
			t.Errorf("the disk has %v", got.Spaces)
		}

		// A name that is not public any more goes at once.
		c.SetPublic(func(repo string) bool { return repo != "open/149" && strings.HasPrefix(repo, "open/") })
		if got := c.Last(); got.Largest[0].Name != "open/148" || len(got.Largest) != most-1 {
			t.Errorf("after the change the largest of %d is %v", len(got.Largest), got.Largest[0])
		}
	})
}

func TestACountIsFollowedByRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &tree{takes: time.Minute}
		c := New(Config{Trees: map[string]Tree{"private": slow}, Named: "private"})
		defer c.Close()
		for range 21 {
			time.Sleep(time.Minute)
			c.Poke()
		}
		synctest.Wait()
		if n := slow.counted.Load(); n != 2 {
			t.Errorf("counted %d times in 21 minutes, want 2: a minute, ten of rest, and again", n)
		}
	})
}

func TestAFailedCountLeavesTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &tree{contents: []store.Content{{Size: 7}}}
		one.failsFrom = 2
		var counted atomic.Int32
		c := New(Config{Trees: map[string]Tree{"private": one}, Named: "private", Counted: func() { counted.Add(1) }})
		defer c.Close()
		synctest.Wait()
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if got := c.Last(); got.Trees["private"] != 7 || one.counted.Load() < 2 || counted.Load() != 1 {
			t.Errorf("got %v after %d counts, of which %d succeeded", got.Trees, one.counted.Load(), counted.Load())
		}
	})
}
