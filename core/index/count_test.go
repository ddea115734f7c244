package index_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// The name is that of the last pull, whatever the order in which pulls are told.
func TestTheLastPullHasItsName(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	complete(t, x)
	push(x, "a/one", 0)
	for _, step := range []struct {
		by    string
		at    time.Duration
		event store.Event
		want  string
	}{
		{"ada", 2, store.Pulled, "ada"},
		{"bob", 1, store.Pulled, "ada"}, // an earlier one
		{"", 2, store.Pulled, "ada"},    // at the same time the greater name wins
		{"eve", 2, store.Pulled, "eve"},
		{"", 3, store.Pulled, ""},
		{"ada", 2, store.PullsRead, ""},
		{"ada", 4, store.PullsRead, "ada"},
	} {
		count := core.PullCount{N: 1, Last: start.Add(step.at), By: step.by}
		x.Apply(store.Change{Event: step.event, Repo: "a/one", Digest: image("a/one", 0), Pulls: count})
		x.Apply(store.Change{Event: step.event, Repo: "a/one", Tag: "v1.0.0", Pulls: count})
		tag := take(t, 1, x.TagRows(t.Context(), "a/one", core.TagsByPull, ""))[0]
		if tag.Pulls.By != step.want || tag.Image.Pulls.By != step.want {
			t.Errorf("after a pull by %q at %d: got %+v and %+v, want %q", step.by, step.at, tag.Pulls, tag.Image.Pulls, step.want)
		}
		if row, err := x.RepositoryRow(t.Context(), "a/one"); err != nil || row.Pulls.By != "" {
			t.Errorf("the sum of a repository has a name: %+v, %v", row.Pulls, err)
		}
	}
}

func TestPullsAreCounted(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	complete(t, x)
	for n := range 3 {
		push(x, "a/one", n)
		push(x, "b/two", n)
	}
	pulled := func(repo string, n int, event store.Event, times int64, at time.Duration) {
		last := core.PullCount{N: times, Last: start.Add(at)}
		x.Apply(store.Change{Event: event, Repo: repo, Digest: image(repo, n), Pulls: last})
		x.Apply(store.Change{Event: event, Repo: repo, Tag: fmt.Sprintf("v1.%d.0", n), Pulls: last})
	}
	pulled("a/one", 1, store.Pulled, 2, time.Hour)
	pulled("a/one", 1, store.Pulled, 3, 2*time.Hour)
	pulled("a/one", 2, store.Pulled, 1, 90*time.Minute)
	pulled("b/two", 0, store.PullsRead, 7, 3*time.Hour)
	pulled("b/two", 0, store.PullsRead, 8, 3*time.Hour)
	pulled("b/two", 9, store.Pulled, 100, 9*time.Hour) // not held
	for n := range 40 {
		day := start.AddDate(0, 0, n).Format(time.DateOnly)
		x.Apply(store.Change{Event: store.PulledOn, Repo: "a/one", Days: map[string]int64{day: 1}})
		x.Apply(store.Change{Event: store.PulledOn, Repo: "a/one", Days: map[string]int64{day: 2}})
		x.Apply(store.Change{Event: store.DaysRead, Repo: "b/two", Days: map[string]int64{day: int64(n)}})
		x.Apply(store.Change{Event: store.PulledOn, Repo: "c/gone", Days: map[string]int64{day: 1}})
	}
	var got []string
	for _, row := range take(t, 9, x.RepositoryRows(t.Context(), "", core.RepositoriesByPull, "")) {
		got = append(got, fmt.Sprint(row.Name, " ", row.Pulls.N, " ", row.Pulls.Last.Sub(start)))
		days := fmt.Sprint(len(row.Days), row.Days[0].N, row.Days[len(row.Days)-1])
		last := start.AddDate(0, 0, 39).Format(time.DateOnly)
		if want := map[string]string{"a/one": "30 3 {" + last + " 3}", "b/two": "1 39 {" + last + " 39}"}[row.Name]; days != want {
			t.Errorf("days of %s: got %s, want %s", row.Name, days, want)
		}
	}
	for _, row := range take(t, 9, x.TagRows(t.Context(), "a/one", core.TagsByPull, "")) {
		got = append(got, fmt.Sprint(row.Name, " ", row.Pulls.N, " ", row.Image.Pulls.N))
	}
	want := []string{"b/two 8 3h0m0s", "a/one 6 2h0m0s", "v1.1.0 5 5", "v1.2.0 1 1", "v1.0.0 0 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	x.Apply(store.Change{Event: store.ImageGone, Repo: "a/one", Digest: image("a/one", 1)})
	row, err := x.RepositoryRow(t.Context(), "a/one")
	if err != nil || row.Pulls != (core.PullCount{N: 1, Last: start.Add(90 * time.Minute)}) {
		t.Errorf("without the image that was pulled last: got %+v and error %v", row.Pulls, err)
	}
}
