package hours_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/hours"
)

func sum(all []hours.Hour) (s hours.Counts) {
	for _, h := range all {
		s = s.Plus(h.Counts)
	}
	return s
}

func TestHoursAreCountedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "hours.db")
		c := hours.Open(path, nil)
		time.Sleep(59*time.Minute + 30*time.Second) // time begins at an hour
		for source, n := range map[core.Source]int{
			core.SourceHeld: 1, core.SourceShared: 2, core.SourceStale: 3, core.SourceUpstream: 4, "": 5,
		} {
			for range n {
				c.Answered("docker.io", source, 10)
			}
		}
		c.Asked("docker.io", hours.OK)
		time.Sleep(time.Minute) // the next hour
		c.Asked("docker.io", hours.Failed)
		c.Asked("docker.io", hours.Limited)
		c.Received("docker.io", 1000)
		c.Answered("quay.io", core.SourceHeld, 1)
		first := hours.Counts{Asked: 15, Held: 1, Shared: 2, Stale: 3, Fetched: 4, OK: 1, Served: 150}
		second := hours.Counts{Failed: 1, Limited: 1, Received: 1000}
		begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		want := []hours.Hour{{Begin: begin, Counts: first}, {Begin: begin.Add(time.Hour), Counts: second}}
		if got := c.Of("docker.io"); !slices.Equal(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		if h := first; h.Here() != 6 {
			t.Errorf("%d answers are from here, want 6", h.Here())
		}

		// A kill loses what was not written within the last minute.
		time.Sleep(time.Minute)
		synctest.Wait()
		c.Received("docker.io", 1)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "hours.db")
		if err := os.WriteFile(other, data, 0o600); err != nil {
			t.Fatal(err)
		}
		killed := hours.Open(other, nil)
		if got := killed.Of("docker.io"); !slices.Equal(got, want) {
			t.Errorf("after a kill: got %+v\nwant %+v", got, want)
		}
		// Counting goes on in the hour that was begun.
		killed.Received("docker.io", 5)
		if got := killed.Of("docker.io"); got[1].Received != 1005 {
			t.Errorf("after a kill: %+v", got[1])
		}
		if err := killed.Close(); err != nil {
			t.Error(err)
		}

		// A stop loses nothing.
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c = hours.Open(path, nil)
		if got := sum(c.Of("docker.io")); got.Received != 1001 || got.Asked != 15 {
			t.Errorf("after a stop: %+v", got)
		}
		if got := c.Of("quay.io"); len(got) != 1 || got[0].Held != 1 {
			t.Errorf("another mirror has %+v", got)
		}

		// After thirty days nothing is left, also in the file.
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(hours.Kept * time.Hour)
		c = hours.Open(path, nil)
		if got := c.Of("docker.io"); got != nil {
			t.Errorf("after thirty days: %+v", got)
		}
		c.Answered("quay.io", core.SourceHeld, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c = hours.Open(path, nil)
		defer c.Close()
		if got := c.Of("quay.io"); len(got) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestHoursAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hours.Open(filepath.Join(t.TempDir(), "hours.db"), nil)
		defer c.Close()
		for range hours.Kept + 100 {
			c.Answered("docker.io", core.SourceHeld, 1)
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if got := c.Of("docker.io"); len(got) != hours.Kept-1 || sum(got).Asked != hours.Kept-1 {
			t.Errorf("%d hours are kept, with %+v", len(got), sum(got)) // the present one has nothing yet
		}
	})
}

func TestHoursSurviveADamagedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "hours.db")
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c := hours.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
		c.Answered("docker.io", core.SourceHeld, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if got := log.String(); !strings.Contains(got, "file is damaged and was set aside") {
			t.Errorf("the log has %s", got)
		}
		c = hours.Open(path, nil)
		defer c.Close()
		if got := c.Of("docker.io"); len(got) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

// A row that cannot be read is not taken for another.
func TestHoursWithOneWrongByteAreSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "hours.db")
		c := hours.Open(path, nil)
		c.Answered("docker.io", core.SourceHeld, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(`"asked":1`), []byte(`"asked":7`)), 0o600); err != nil {
			t.Fatal(err)
		}
		c = hours.Open(path, nil)
		defer c.Close()
		if got := c.Of("docker.io"); got != nil {
			t.Errorf("got %+v", got)
		}
		if _, err := os.Stat(path + ".damaged"); err != nil {
			t.Error(err)
		}
	})
}

func TestNoCounterCountsNothing(t *testing.T) {
	var c *hours.Counter
	c.Answered("docker.io", core.SourceHeld, 1)
	c.Asked("docker.io", hours.OK)
	c.Received("docker.io", 1)
	if got := c.Of("docker.io"); got != nil {
		t.Errorf("got %+v", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkAnswered(b *testing.B) {
	c := hours.Open(filepath.Join(b.TempDir(), "hours.db"), nil)
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		c.Answered("docker.io", core.SourceHeld, 1)
	}
}
