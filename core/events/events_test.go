package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
)

// all returns what a list has, without IDs and times.
func all(t *testing.T, l *events.Log, q events.Query) (got []events.Event) {
	t.Helper()
	after := ""
	for {
		var pause *core.Pause
		for e, err := range l.List(t.Context(), q, after) {
			if errors.As(err, &pause) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			e.ID, e.Time = 0, time.Time{}
			got = append(got, e)
		}
		if pause == nil {
			return got
		}
		after = pause.After
	}
}

// written lets a second pass, so that everything is on the disk.
func written() {
	time.Sleep(1100 * time.Millisecond)
	synctest.Wait()
}

// killed opens what a process would find that is started after this one was killed.
func killed(t *testing.T, path string, most int) (*events.Log, string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "events.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return events.Open(events.Config{Path: path, Most: most}), path
}

// model is what a Log should have, the oldest first.
type model struct {
	events []events.Event
	most   int
}

var shareOf = map[string]int{"push": 70, "delete": 70, "login": 15, "denied": 10, "login_refused": 10, "gc": 5}

// bound forgets the oldest events of shares that have too many, as a Log does when it writes.
func (m *model) bound() {
	for _, percent := range []int{70, 15, 10, 5} {
		most, n := m.most*percent/100, 0
		for i := len(m.events) - 1; i >= 0; i-- {
			if shareOf[m.events[i].Kind] != percent {
				continue
			}
			if n++; n > most {
				m.events = slices.Delete(m.events, i, i+1)
			}
		}
	}
}

func (m *model) list(q events.Query) (want []events.Event) {
	for _, e := range slices.Backward(m.events) {
		if (q.Repo == "" || q.Repo == e.Repo) && (q.User == "" || q.User == e.User) && (q.Kind == "" || q.Kind == e.Kind) &&
			(!q.Changes || shareOf[e.Kind] == 70) {
			want = append(want, e)
		}
	}
	return want
}

func TestEventsAreThoseOfAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		const most = 200
		path := filepath.Join(t.TempDir(), "events.db")
		l := events.Open(events.Config{Path: path, Most: most})
		m := model{most: most}
		kinds := []string{"push", "delete", "login", "denied", "login_refused", "gc"}
		var durable []events.Event // what a kill leaves
		check := func(when string) {
			t.Helper()
			for _, q := range []events.Query{
				{}, {Repo: "team/a"}, {Repo: "team/a1"}, {User: "u1"}, {Kind: "push"}, {Kind: "gc"}, {Changes: true}, {Changes: true, User: "u2"},
				{Repo: "team/a", User: "u1", Kind: "delete"}, {Repo: "nowhere"},
			} {
				if got, want := all(t, l, q), m.list(q); !slices.Equal(got, want) {
					t.Fatalf("%s: %+v has %d events, want %d\n got %v\nwant %v", when, q, len(got), len(want), got, want)
				}
			}
		}
		for step := range 150 {
			switch n := random.IntN(10); {
			case n < 6:
				for range 1 + random.IntN(30) {
					e := events.Event{
						Kind: kinds[random.IntN(len(kinds))], Repo: []string{"team/a", "team/a1", ""}[random.IntN(3)],
						User: []string{"u1", "u2", ""}[random.IntN(3)], Tag: fmt.Sprint("v", step),
					}
					l.Add(e)
					m.events = append(m.events, e)
				}
				check("with events that wait")
			case n < 8:
				written()
				m.bound()
				durable = slices.Clone(m.events)
				check("written")
			case n == 8:
				l.Close()
				m.bound()
				durable = slices.Clone(m.events)
				l = events.Open(events.Config{Path: path, Most: most})
				check("closed and opened")
			default:
				before := l
				l, path = killed(t, path, most)
				before.Close()
				m.events = slices.Clone(durable)
				check("killed")
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAListGoesOnWhereItStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := events.Open(events.Config{Path: filepath.Join(t.TempDir(), "events.db")})
		defer l.Close()
		for i := range 700 {
			l.Add(events.Event{Kind: "push", Tag: fmt.Sprint(i)})
			if i == 600 {
				written()
			}
		}
		var got []string
		after := ""
		for range 1000 {
			before := len(got)
			n := 0
			for e, err := range l.List(t.Context(), events.Query{}, after) {
				if err != nil {
					t.Fatal(err)
				}
				got, after = append(got, e.Tag), events.At(e)
				if n++; n == 7 {
					break
				}
			}
			if len(got) == before {
				break
			}
		}
		if len(got) != 700 || got[0] != "699" || got[699] != "0" || !slices.IsSortedFunc(got, func(a, b string) int { return len(b) - len(a) }) {
			t.Errorf("got %d events, from %s to %s", len(got), got[0], got[len(got)-1])
		}
		for _, err := range l.List(t.Context(), events.Query{}, "yesterday") {
			if !errors.Is(err, events.ErrPlace) {
				t.Errorf("got %v for a place that is none", err)
			}
		}
	})
}

// A list whose rows are all passed over is paused, and goes on.
func TestAListPausesAmongEventsThatAreNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := events.Open(events.Config{Path: filepath.Join(t.TempDir(), "events.db")})
		defer l.Close()
		l.Add(events.Event{Kind: "push", Repo: "team/app", User: "ada"})
		for range 6 {
			for range 2000 {
				l.Add(events.Event{Kind: "push", Repo: "team/app", User: "ci"})
			}
			written()
		}
		paused := 0
		for _, err := range l.List(t.Context(), events.Query{Repo: "team/app", User: "ada"}, "") {
			var pause *core.Pause
			if errors.As(err, &pause) {
				paused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if paused != 1 {
			t.Errorf("paused %d times, want once", paused)
		}
		if got := all(t, l, events.Query{Repo: "team/app", User: "ada"}); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestAFloodOfRefusalsForgetsOnlyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := events.Open(events.Config{Path: filepath.Join(t.TempDir(), "events.db"), Most: 1000, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer l.Close()
		for i := range 500 {
			l.Add(events.Event{Kind: "push", Tag: fmt.Sprint(i)})
		}
		// More within a second than may wait, and a push among them.
		for i := range 10_000 {
			l.Add(events.Event{Kind: "login_refused", Address: fmt.Sprint(i)})
		}
		l.Add(events.Event{Kind: "push", Tag: "last"})
		written()
		for range 5 {
			for i := range 3000 {
				l.Add(events.Event{Kind: "denied", Address: fmt.Sprint(i)})
			}
			written()
		}
		if got := all(t, l, events.Query{Kind: "push"}); len(got) != 501 || got[0].Tag != "last" || got[500].Tag != "0" {
			t.Errorf("%d pushes are left, want 501", len(got))
		}
		if got := len(all(t, l, events.Query{})); got != 501+100 {
			t.Errorf("%d events are left, want 601", got)
		}
		if want := `msg="events were not recorded, because too many waited for the disk" dropped=5904`; !strings.Contains(log.String(), want) {
			t.Errorf("the log has %s\nwant %s", log.String(), want)
		}
	})
}

func TestEventsEndAfterNinetyDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.db")
		reopen := func(l *events.Log, after time.Duration) *events.Log {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(after)
			return events.Open(events.Config{Path: path})
		}
		l := events.Open(events.Config{Path: path})
		l.Add(events.Event{Kind: "push", Tag: "old"})
		l = reopen(l, events.MaxAge-time.Hour)
		l.Add(events.Event{Kind: "push", Tag: "new"})
		if got := all(t, l, events.Query{}); len(got) != 2 {
			t.Errorf("an hour before the end: %v", got)
		}
		l = reopen(l, 2*time.Hour)
		if got := all(t, l, events.Query{Kind: "push"}); len(got) != 1 || got[0].Tag != "new" {
			t.Errorf("an hour after it: %v", got)
		}
		written()
		l = reopen(l, 0)
		defer l.Close()
		if _, err := os.Stat(path + ".damaged"); err == nil {
			t.Error("the file was set aside")
		}
	})
}

// A clock that was set back does not hide what is added.
func TestEventsKeepTheirOrderWhenTheClockWasSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	add := func(later time.Duration, tag string) {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(later)
			l := events.Open(events.Config{Path: path})
			l.Add(events.Event{Kind: "push", Tag: tag})
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	add(time.Hour, "first")
	add(0, "second") // a new bubble begins in 2000 again
	synctest.Test(t, func(t *testing.T) {
		l := events.Open(events.Config{Path: path})
		defer l.Close()
		if got := all(t, l, events.Query{}); len(got) != 2 || got[0].Tag != "second" {
			t.Errorf("got %v", got)
		}
	})
}

func TestTextsOfEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.db")
		l := events.Open(events.Config{Path: path})
		long := strings.Repeat("<\x01ä", 100_000)
		for range 200 {
			l.Add(events.Event{Kind: long, Repo: long, Tag: long, Digest: long, Before: long, User: long, Credential: long, Address: long, Subject: long, Text: long})
		}
		written()
		got := all(t, l, events.Query{})
		if len(got) != 200 || strings.ContainsRune(got[0].Text+got[0].User, 1) || len(got[0].Repo) > 255 {
			t.Errorf("got %d events, the first %+v", len(got), got[0])
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > 4<<20 {
			t.Errorf("the file has %d bytes, %v", info.Size(), err)
		}
	})
}

func TestADamagedFileIsSetAside(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"other bytes", func(data []byte) []byte { return bytes.Repeat([]byte("x"), len(data)) }},
		{"a tail that was cut off", func(data []byte) []byte { return data[:3*os.Getpagesize()] }},
		{"one letter", func(data []byte) []byte { return bytes.ReplaceAll(data, []byte("team/app"), []byte("team/apq")) }},
		{"less than a page", func(data []byte) []byte { return data[:100] }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "events.db")
				l := events.Open(events.Config{Path: path})
				for range 300 {
					l.Add(events.Event{Kind: "push", Repo: "team/app"})
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, row.damage(data), 0o600); err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				l = events.Open(events.Config{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
				for range l.List(t.Context(), events.Query{}, "") { // whichever of the two reads it first
				}
				l.Add(events.Event{Kind: "push", Repo: "team/new"})
				written()
				if got := all(t, l, events.Query{Repo: "team/new"}); len(got) != 1 {
					t.Errorf("got %v after the damage", got)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if !strings.Contains(log.String(), "file is damaged and was set aside; a new one begins") {
					t.Errorf("the log has %s", log.String())
				}
				if _, err := os.Stat(path + ".damaged"); err != nil {
					t.Error(err)
				}
				l = events.Open(events.Config{Path: path})
				defer l.Close()
				if got := all(t, l, events.Query{}); len(got) != 1 || got[0].Repo != "team/new" {
					t.Errorf("the new file has %v", got)
				}
			})
		})
	}
}

// Where nothing can be written events are kept in memory, and written when it is possible.
func TestEventsWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
			t.Fatal(err)
		}
		var log bytes.Buffer
		l := events.Open(events.Config{Path: filepath.Join(dir, "events.db"), Log: slog.New(slog.NewTextHandler(&log, nil))})
		l.Add(events.Event{Kind: "push", Tag: "v1"})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := all(t, l, events.Query{}); len(got) != 1 {
			t.Errorf("got %v without a file", got)
		}
		if got := strings.Count(log.String(), "\n"); got < 1 || got > 2 {
			t.Errorf("%d lines were logged in a minute:\n%s", got, log.String())
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		written()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l = events.Open(events.Config{Path: filepath.Join(dir, "events.db")})
		defer l.Close()
		if got := all(t, l, events.Query{}); len(got) != 1 {
			t.Errorf("got %v from the file", got)
		}
	})
}

func TestEventsWithoutAFileAreTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := events.Open(events.Config{})
		defer l.Close()
		for i := range 20_000 {
			l.Add(events.Event{Kind: "push", Tag: fmt.Sprint(i)})
		}
		for range 20_000 {
			l.Add(events.Event{Kind: "denied"})
		}
		written()
		got := all(t, l, events.Query{Kind: "push"})
		if len(got) < 4096-256 || len(got) > 4096 || got[0].Tag != "19999" || got[len(got)-1].Tag != fmt.Sprint(20_000-len(got)) {
			t.Errorf("%d pushes are left, the first %v", len(got), got[0])
		}
	})
}

func TestAListEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := events.Open(events.Config{Path: filepath.Join(t.TempDir(), "events.db")})
		defer l.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range l.List(ctx, events.Query{}, "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// A push waits for memory alone. The writer runs beside it.
func BenchmarkAdd(b *testing.B) {
	l := events.Open(events.Config{Path: filepath.Join(b.TempDir(), "events.db")})
	defer l.Close()
	e := events.Event{Kind: "push", Repo: "team/app", Tag: "v1", User: "ci", Credential: "key 0123456789ab", Address: "192.0.2.1"}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(e)
	}
}
