package mirror

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestWeighedKeepsWithinItsBound(t *testing.T) {
	w := newWeighed(100, func(_ string, weight int64) int64 { return weight })
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		key := fmt.Sprint(random.IntN(50))
		switch random.IntN(3) {
		case 0:
			w.set(key, random.Int64N(120)+1)
		case 1:
			if _, ok, put := w.look(key); !ok {
				put(random.Int64N(30) + 1)
			}
		default:
			w.drop(key)
		}
		var sum int64
		for e := w.order.Front(); e != nil; e = e.Next() {
			sum += e.Value.(*weighedEntry[int64]).weight
		}
		if sum != w.sum || sum > 100 || len(w.entries) != w.order.Len() {
			t.Fatalf("after %d steps %d bytes in %d entries, counted as %d in %d", i, sum, w.order.Len(), w.sum, len(w.entries))
		}
	}
}

// A value that was read before a change is older than it, and is not remembered
// after it.
func TestWhatWasReadBeforeAChangeIsNotRemembered(t *testing.T) {
	w := newWeighed(100, func(string, int) int64 { return 1 })
	m := newMemo[string, int](100)
	_, _, putWeighed := w.look("a")
	_, _, putMemo := m.look("a")
	w.set("a", 2)
	m.set("a", 2)
	w.drop("a")
	m.drop("a")
	putWeighed(1)
	putMemo(1)
	if v, ok, _ := w.look("a"); ok {
		t.Errorf("weighed has %d", v)
	}
	if v, ok := m.get("a"); ok {
		t.Errorf("memo has %d", v)
	}
}

func TestTagRowsGoOnBehindATag(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var tags []string
		for range random.IntN(40) {
			tags = append(tags, fmt.Sprintf("%0*d", 1+random.IntN(3), random.IntN(200)))
		}
		rows := newTagRows(time.Now(), slices.Clone(tags))
		slices.Sort(tags)
		tags = slices.Compact(tags)
		for _, after := range append([]string{"", "!", "~", "1", "10", "100", "1000"}, tags...) {
			want := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return tag <= after })
			if got := slices.Collect(rows.after(after)); !slices.Equal(got, want) {
				t.Fatalf("behind %q of %q: got %q, want %q", after, tags, got, want)
			}
		}
	}
}
