//go:build linux

package blockcut_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/eblume/caddy-registry/integration/blockcut"
	"github.com/eblume/caddy-registry/integration/server"
)

// format returns an empty file system, or skips the test on a machine where it cannot be
// mounted. With CI=true that is a failure.
func format(t *testing.T, k blockcut.Kind) *blockcut.Disk {
	t.Helper()
	server.Tool(t, k.Program())
	disk, err := k.Format(t.TempDir())
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		if os.Getenv("CI") != "true" {
			t.Skipf("loop devices and mounts need root: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// A sync of a new file flushes twice, on both file systems: once the blocks that the journal's
// commit describes, and then the commit itself.
func TestFlushesArrive(t *testing.T) {
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			w := mounted(t, k, format(t, k))
			before := w.disk.Flushes()
			w.write("new", "content", true)
			if got := w.disk.Flushes() - before; got < 2 {
				t.Errorf("%d flushes, want 2", got)
			}
			if n := w.disk.Unflushed(w.disk.Position()); n > 0 {
				t.Errorf("%d writes after the last of them", n)
			}
		})
	}
}

func TestCutLosesUnsyncedData(t *testing.T) {
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			w := mounted(t, k, format(t, k))
			w.write("synced", "content", true)
			w.write("not", "content", false)
			at := w.disk.Position()
			w.write("later", "content", true)
			for seed := range uint64(5) {
				after := mounted(t, k, w.disk.Cut(at, rand.New(rand.NewPCG(seed, 2))))
				for name, want := range map[string]string{"synced": "content", "not": "", "later": ""} {
					got, err := os.ReadFile(filepath.Join(after.dir, name))
					if string(got) != want || err != nil && want != "" {
						t.Errorf("seed %d: %s has %q, %v, want %q", seed, name, got, err, want)
					}
				}
			}
		})
	}
}

// Each sector that was written after the last flush may be in any of its states, on its
// own; all others are as they were.
func TestCutOutcomes(t *testing.T) {
	disk := blockcut.New()
	write := func(first int, content string) {
		t.Helper()
		data := make([]byte, len(content)*blockcut.SectorSize)
		for i := range content {
			data[i*blockcut.SectorSize] = content[i]
		}
		in := &fuse.WriteIn{Offset: uint64(first * blockcut.SectorSize)}
		if n, status := disk.Write(nil, in, data); !status.Ok() || int(n) != len(data) {
			t.Fatal(n, status)
		}
	}
	write(0, "aaaa")
	if status := disk.Fsync(nil, nil); !status.Ok() {
		t.Fatal(status)
	}
	write(1, "bb")
	write(2, "c")
	at := disk.Position()
	write(0, "dddd")
	disk.Fsync(nil, nil)

	seen := make(map[string]int)
	for seed := range uint64(200) {
		after := disk.Cut(at, rand.New(rand.NewPCG(seed, 3)))
		buf := make([]byte, 4*blockcut.SectorSize)
		if _, status := after.Read(nil, &fuse.ReadIn{}, buf); !status.Ok() {
			t.Fatal(status)
		}
		var state []byte
		for i := range 4 {
			state = append(state, buf[i*blockcut.SectorSize])
		}
		seen[string(state)]++
	}
	want := []string{"aaaa", "aaba", "aaca", "abaa", "abba", "abca"}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
}

func TestRequestOfPartOfASector(t *testing.T) {
	disk := blockcut.New()
	if _, status := disk.Write(nil, &fuse.WriteIn{Offset: 512}, make([]byte, blockcut.SectorSize)); status.Ok() || disk.Err() == nil {
		t.Errorf("got %v, %v, want an error of both", status, disk.Err())
	}
}

// world is a mounted disk.
type world struct {
	*testing.T
	disk *blockcut.Disk
	dir  string
}

// mounted mounts a disk until the test ends.
func mounted(t *testing.T, k blockcut.Kind, disk *blockcut.Disk) world {
	t.Helper()
	dir, unmount, err := k.Mount(disk, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return world{t, disk, dir}
}

func (w world) write(name, content string, sync bool) {
	w.Helper()
	f, err := os.Create(filepath.Join(w.dir, name))
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if _, err = f.WriteString(content); err == nil && sync {
		err = f.Sync()
	}
	if err != nil {
		w.Fatal(err)
	}
}
