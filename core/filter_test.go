package core

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
)

// looked are names from 0 on behind after, and counts how many were looked at.
func looked(n int, after string, looks *int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if name := fmt.Sprintf("%05d", i); name > after {
				if *looks++; !yield(name, nil) {
					return
				}
			}
		}
	}
}

// A caller who may see few of many names is shown them all, page by page, and no page
// looks at more than its bound.
func TestFilterBoundsWhatItPassesOver(t *testing.T) {
	const names = 5 * MaxPassed
	visible := []string{"00000", "00999", "01000", "01001", "02500", "04999"}
	keep := func(name string) bool { return slices.Contains(visible, name) }
	var got []string
	pages, after := 0, ""
	for more := true; more; pages++ {
		looks, shown := 0, 0
		more = false
		for name, err := range Filter(looked(names, after, &looks), keep) {
			var pause *Pause
			if errors.As(err, &pause) {
				if pause.After <= after {
					t.Fatalf("paused behind %q, where it began", after)
				}
				after, more = pause.After, true
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got, shown = append(got, name), shown+1
		}
		if looks > MaxPassed+shown {
			t.Errorf("page %d looked at %d names to show %d", pages, looks, shown)
		}
	}
	if !slices.Equal(got, visible) || pages != 5 {
		t.Errorf("got %q on %d pages, want %q on 5", got, pages, visible)
	}
}

func TestFilterPassesAllOnToWhoMaySeeAll(t *testing.T) {
	looks, shown := 0, 0
	for _, err := range Filter(looked(5*MaxPassed, "", &looks), func(string) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
		shown++
	}
	if shown != 5*MaxPassed {
		t.Errorf("got %d names", shown)
	}
}

func TestFilterEndsAsItsListDoes(t *testing.T) {
	broken := errors.New("broken")
	for _, err := range Filter(Fail[string](broken), func(string) bool { return false }) {
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	looks := 0
	for range Filter(looked(10, "", &looks), func(string) bool { return true }) {
		break
	}
	if looks != 1 {
		t.Errorf("looked at %d names after the caller stopped", looks)
	}
}
