package memo

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// held are the keys that Get finds, in order.
func held(m *Memo[string, int], keys ...string) (found []string) {
	for _, key := range keys {
		if _, ok := m.Get(key); ok {
			found = append(found, key)
		}
	}
	return found
}

// The effect of each call on the age of an entry decides which one is dropped.
func TestTheOldestMakesRoom(t *testing.T) {
	add := func(n int, _ bool) int { return n + 1 }
	for name, row := range map[string]struct {
		touch func(*Memo[string, int])
		want  []string
	}{
		"nothing was touched":            {func(*Memo[string, int]) {}, []string{"b", "c", "d"}},
		"set again is young":             {func(m *Memo[string, int]) { m.Set("a", 2) }, []string{"a", "c", "d"}},
		"read is as old as before":       {func(m *Memo[string, int]) { m.Get("a") }, []string{"b", "c", "d"}},
		"updated is as old as before":    {func(m *Memo[string, int]) { m.Update("a", add) }, []string{"b", "c", "d"}},
		"not added is as old as it is":   {func(m *Memo[string, int]) { m.Add("a", 2) }, []string{"b", "c", "d"}},
		"deleted makes room itself":      {func(m *Memo[string, int]) { m.Delete("b") }, []string{"a", "c", "d"}},
		"deleted and set again is young": {func(m *Memo[string, int]) { m.Delete("a"); m.Set("a", 2) }, []string{"a", "c", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := New[string, int](3, 0, nil)
			for _, key := range []string{"a", "b", "c"} {
				m.Set(key, 1)
			}
			row.touch(m)
			m.Set("d", 1)
			if got := held(m, "a", "b", "c", "d"); !slices.Equal(got, row.want) || m.Len() != 3 {
				t.Errorf("got %v of %d, want %v", got, m.Len(), row.want)
			}
		})
	}
}

func TestEntriesExpire(t *testing.T) {
	time0 := newClock()
	m := New[string, int](10, time.Minute, time0.now)
	m.Set("a", 1)
	time0.pass(30 * time.Second)
	m.Set("b", 1)
	if n := m.Update("a", func(n int, known bool) int { return n + 1 }); n != 2 {
		t.Errorf("updated to %d, want 2", n)
	}
	time0.pass(30*time.Second - 1)
	if got := held(m, "a", "b"); len(got) != 2 {
		t.Errorf("a moment before the end only %v are known", got)
	}
	time0.pass(1)
	if got := held(m, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %v, want the younger alone: an update does not make an entry younger", got)
	}
	if n := m.Update("a", func(n int, known bool) int { return n + 1 }); n != 1 {
		t.Errorf("an expired entry went on with %d", n)
	}
	if time0.pass(time.Minute); !m.Add("a", 7) {
		t.Error("an expired entry kept another from being added")
	}
	if v, ok := m.Get("a"); v != 7 || !ok {
		t.Errorf("got %d, %v", v, ok)
	}
}

func TestWhatExpiredIsToldOnce(t *testing.T) {
	time0 := newClock()
	m := New[string, int](10, time.Minute, time0.now)
	var told []string
	tell := func(key string, n int) { told = append(told, fmt.Sprint(key, n)) }
	m.Set("a", 1)
	m.Set("b", 2)
	time0.pass(time.Minute)
	m.Set("c", 3) // forgets a and b, of which nobody wanted to hear
	m.Expire(tell)
	if len(told) > 0 || m.Len() != 1 {
		t.Errorf("told of %v, %d are left", told, m.Len())
	}
	time0.pass(time.Minute)
	m.Expire(tell)
	m.Expire(tell)
	if !slices.Equal(told, []string{"c3"}) || m.Len() != 0 {
		t.Errorf("told of %v, %d are left", told, m.Len())
	}
}

func TestAFloodStaysBounded(t *testing.T) {
	for _, most := range []int{-1, 0, 1, 100} {
		m := New[int, int](most, time.Hour, nil)
		for i := range 10_000 {
			m.Set(i, i)
		}
		if want := max(1, most); m.Len() != want {
			t.Errorf("%d entries are held, want %d", m.Len(), want)
		}
		if v, ok := m.Get(9_999); !ok || v != 9_999 {
			t.Error("the newest entry was forgotten")
		}
	}
}

func TestUpdateIsOneStep(t *testing.T) {
	m := New[string, int](2, time.Hour, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				m.Update("a", func(n int, _ bool) int { return n + 1 })
				m.Set("b", i)
				m.Get("b")
			}
		})
	}
	all.Wait()
	if n, _ := m.Get("a"); n != 8000 {
		t.Errorf("counted %d, want 8000", n)
	}
}
