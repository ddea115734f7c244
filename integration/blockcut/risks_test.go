//go:build linux

package blockcut_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/server"
)

// The server warns of a file system only if that deserves it.
const (
	noJournal = "has no journal"
	noBarrier = "without barriers"
)

func TestRisksAreReported(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind blockcut.Kind
		want []string
	}{
		{"ext4", blockcut.Ext4, nil},
		{"XFS", blockcut.XFS, nil},
		{"ext4 without a journal", blockcut.Ext4Bare, []string{noJournal}},
		{"ext4 without barriers", blockcut.Ext4.With("nobarrier"), []string{noBarrier}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := mounted(t, tt.kind, format(t, tt.kind))
			got := dir.Risks(w.dir)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %d", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) || !strings.Contains(got[i], "/dev/loop") {
					t.Errorf("got %q, want that %s %s", got[i], "/dev/loop…", want)
				}
			}
		})
	}
}

// The server warns once in its log, and the doctor reports it as a warning and nothing else as
// wrong.
func TestServerReportsRisks(t *testing.T) {
	for _, tt := range []struct {
		kind blockcut.Kind
		want int
	}{
		{blockcut.Ext4, 0},
		{blockcut.Ext4Bare, 1},
	} {
		w := mounted(t, tt.kind, format(t, tt.kind))
		s := server.Start(t, server.Options{Data: filepath.Join(w.dir, "data")})
		if got, err := s.Said(noJournal); got != tt.want || err != nil {
			t.Errorf("the log has it %d times, %v, want %d", got, err, tt.want)
		}
		out, err := s.Command(t.Context(), t, "registry", "doctor", "--storage", s.Data).Output()
		if got := strings.Count(string(out), noJournal); got != tt.want || err != nil {
			t.Errorf("the doctor has it %d times, %v, want %d:\n%s", got, err, tt.want, out)
		}
		s.Kill()
	}
}

// A file that is renamed over another should leave one of the two, and does so where
// there is a journal. Without one the old file's inode is on the disk as freed before the
// directory names the new one, though each was synced, and the checker takes the name
// away: no sync of ours could help, and so the server warns. Linux 6.18 does that, and
// no kernel has to.
func TestReplacedFileNeedsAJournal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    blockcut.Kind
		journal bool
	}{
		{"ext4", blockcut.Ext4, true},
		{"XFS", blockcut.XFS, true},
		{"ext4 without a journal", blockcut.Ext4Bare, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := mounted(t, tt.kind, format(t, tt.kind))
			for _, name := range []string{"tag", "tag.new", "neighbour"} { // their inodes are in one block
				w.write(name, name, true)
			}
			top, err := os.Open(w.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer top.Close()
			if err := top.Sync(); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(w.dir, "tag.new"), filepath.Join(w.dir, "tag")); err != nil {
				t.Fatal(err)
			}
			w.write("neighbour", "more", true) // another client's push
			after := w.disk.Cut(w.disk.Position(), rand.New(rand.NewPCG(1, 4)))
			if !tt.journal {
				if err := after.Check(t.TempDir()); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(filepath.Join(mounted(t, tt.kind, after).dir, "tag"))
			if tt.journal {
				if err != nil || !slices.Contains([]string{"tag", "tag.new"}, string(got)) {
					t.Errorf("got %q, %v, want the old file or the new one", got, err)
				}
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Skipf("this kernel, or e2fsck, keeps it (%q, %v): it does more than it must", got, err)
			}
		})
	}
}
