package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuick runs every group with little work, verifies every answer and checks the memory
// limit. It does not measure speed.
func TestQuick(t *testing.T) {
	const bin = "../../bin"
	for _, tool := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") != "true" {
			t.Skipf("%v: run `go run ./tools` in integration", err)
		}
	}
	dir := t.TempDir()
	var out bytes.Buffer
	b := &bench{ctx: t.Context(), out: &out, rounds: 1, size: quick}
	if err := b.all(bin, dir, ""); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	tables := strings.Count(out.String(), "\n### ")
	if want := 21; tables != want {
		t.Errorf("%d tables were printed, want %d:\n%s", tables, want, out.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the run left %v behind (%v)", left, err)
	}
}

func TestMediansOfTurnsThatAlternate(t *testing.T) {
	b := &bench{ctx: t.Context(), rounds: 3}
	var order []string
	turns := func(name string, rates ...float64) contender {
		return contender{name, func() (sample, error) {
			order = append(order, name)
			rate := rates[0]
			rates = rates[1:]
			return sample{rate: rate}, nil
		}}
	}
	got, err := b.medians([]contender{turns("a", 3, 1, 2), turns("b", 10, 30, 20)})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].rate != 2 || got[1].rate != 20 {
		t.Errorf("medians are %v and %v, want 2 and 20", got[0].rate, got[1].rate)
	}
	if got, want := strings.Join(order, " "), "a b a b a b"; got != want {
		t.Errorf("the order was %q, want %q", got, want)
	}
}

func TestAFailedTurnNamesItsContender(t *testing.T) {
	b := &bench{ctx: t.Context(), rounds: 1}
	_, err := b.medians([]contender{{"peer", func() (sample, error) { return sample{}, fs.ErrInvalid }}})
	if !errors.Is(err, fs.ErrInvalid) || !strings.HasPrefix(err.Error(), "peer: ") {
		t.Errorf("got %v, want an error of peer that is %v", err, fs.ErrInvalid)
	}
}

func TestAMissingServerIsReported(t *testing.T) {
	b := &bench{ctx: t.Context(), size: quick}
	err := b.programs(filepath.Join(t.TempDir(), "bin"))
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v, want the command that builds it", err)
	}
}
