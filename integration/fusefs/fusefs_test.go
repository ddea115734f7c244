package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/fusefs"
)

// seeds is how many outcomes of a cut a test looks at: an outcome of one in
// three or more is missed about once in 10^17.
const seeds = 100

// world is a mounted disk with operations that fail the test on an error.
type world struct {
	*testing.T
	dir string
}

func mounted(t *testing.T, disk *fusefs.FS) world { return world{t, fusefs.Mount(t, disk)} }

func (w world) path(name string) string { return filepath.Join(w.dir, name) }

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) write(name, data string, sync bool) {
	w.Helper()
	file, err := os.OpenFile(w.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	w.must(err)
	_, err = file.WriteString(data)
	w.must(err)
	if sync {
		w.must(file.Sync())
	}
	w.must(file.Close())
}

func (w world) mkdir(name string) {
	w.Helper()
	w.must(os.Mkdir(w.path(name), 0o755))
}

func (w world) sync(name string) {
	w.Helper()
	w.must(syncPath(w.path(name)))
}

func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (w world) rename(from, to string) {
	w.Helper()
	w.must(os.Rename(w.path(from), w.path(to)))
}

// tree describes every file of a directory, and every directory that is empty.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			lines = append(lines, fmt.Sprintf("%s=%q", name, data))
			return err
		}
		list, err := os.ReadDir(path)
		if len(list) == 0 {
			lines = append(lines, name+"/")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, " ")
}

// after collects every tree that a cut left over many seeds.
func after(t *testing.T, disk *fusefs.FS) []string {
	t.Helper()
	found := make(map[string]bool)
	for seed := range uint64(seeds) {
		dir, unmount, err := disk.Cut(rand.New(rand.NewPCG(seed, 0))).Mount(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		found[tree(t, dir)] = true
		unmount()
	}
	var trees []string
	for tree := range found {
		trees = append(trees, tree)
	}
	slices.Sort(trees)
	return trees
}

func TestPowerCut(t *testing.T) {
	tests := []struct {
		name string
		do   func(w world)
		want []string // every outcome, sorted
	}{
		// Synced data stays, other data may be gone.
		{"file and directory synced", func(w world) {
			w.write("a", "x", true)
			w.sync(".")
		}, []string{`a="x"`}},
		{"nothing synced", func(w world) {
			w.write("a", "x", false)
		}, []string{``, `a=""`, `a="\x00"`, `a="x"`}},
		{"data synced, name not", func(w world) {
			w.write("a", "x", true)
		}, []string{``, `a="x"`}},
		{"name synced, data not", func(w world) {
			w.write("a", "x", false)
			w.sync(".")
		}, []string{`a=""`, `a="\x00"`, `a="x"`}},
		{"directory synced, its own name not", func(w world) {
			w.mkdir("d")
			w.write("d/a", "x", true)
			w.sync("d")
		}, []string{``, `d/a="x"`}},
		{"overwritten in place", func(w world) {
			w.write("a", "x", true)
			w.sync(".")
			w.write("a", "y", false)
		}, []string{`a=""`, `a="\x00"`, `a="x"`, `a="y"`}},

		// Names.
		{"rename in a directory is all or nothing", func(w world) {
			w.write("a", "x", true)
			w.write("b", "y", true)
			w.sync(".")
			w.rename("a", "b")
		}, []string{`a="x" b="y"`, `b="x"`}},
		{"rename before its data", func(w world) {
			w.write("b", "y", true)
			w.sync(".")
			w.write("a", "x", false)
			w.rename("a", "b")
			w.sync(".")
		}, []string{`b=""`, `b="\x00"`, `b="x"`}},
		{"move between directories, target synced", func(w world) {
			w.mkdir("d")
			w.write("a", "x", true)
			w.sync(".")
			w.rename("a", "d/a")
			w.sync("d")
		}, []string{`a="x" d/a="x"`, `d/a="x"`}},
		{"unlink that is not synced", func(w world) {
			w.write("a", "x", true)
			w.sync(".")
			w.must(os.Remove(w.path("a")))
		}, []string{``, `a="x"`}},
		{"two links, one of them synced", func(w world) {
			w.mkdir("d")
			w.write("a", "x", true)
			w.sync(".")
			w.must(os.Link(w.path("a"), w.path("d/a")))
			w.must(os.Remove(w.path("a")))
			w.sync(".")
		}, []string{`d/`, `d/a="x"`}},
		{"two new names persist one without the other", func(w world) {
			w.write("a", "", true)
			w.write("b", "", true)
		}, []string{``, `a=""`, `a="" b=""`, `b=""`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := fusefs.New(fusefs.Options{})
			tt.do(mounted(t, disk))
			if got := after(t, disk); !slices.Equal(got, tt.want) {
				t.Errorf("after the cut: got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTornWriteKeepsSectors(t *testing.T) {
	disk := fusefs.New(fusefs.Options{})
	w := mounted(t, disk)
	w.write("a", strings.Repeat("o", 2000), true)
	w.sync(".")
	w.write("a", strings.Repeat("n", 4000), false)
	mixed := false
	for _, tree := range after(t, disk) {
		data := strings.TrimSuffix(strings.TrimPrefix(tree, `a="`), `"`)
		if extra := strings.Trim(strings.ReplaceAll(data, `\x00`, ""), "on"); extra != "" {
			t.Fatalf("neither old nor new nor zeros: %q", extra)
		}
		mixed = mixed || strings.Contains(data, "o") && strings.Contains(data, "n")
	}
	if !mixed {
		t.Error("no outcome has old and new sectors in one file")
	}
}

func TestRestartForgetsNothingAndSyncsNothing(t *testing.T) {
	disk := fusefs.New(fusefs.Options{})
	w := mounted(t, disk)
	w.write("kept", "x", true)
	w.write("gone", "y", true)
	w.sync(".")
	w.must(os.Remove(w.path("gone")))
	w.write("new", "z", false)

	next := disk.Restart()
	if got, want := tree(t, fusefs.Mount(t, next)), `kept="x" new="z"`; got != want {
		t.Errorf("after the kill: got %s, want %s", got, want)
	}
	if got, want := after(t, next), after(t, disk); !slices.Equal(got, want) {
		t.Errorf("a cut after the kill: got %q, want %q", got, want)
	}
}

func TestCutAfterStopsEverything(t *testing.T) {
	disk := fusefs.New(fusefs.Options{})
	w := mounted(t, disk)
	disk.CutAfter(2)
	w.mkdir("a")
	w.mkdir("b")
	if err := os.Mkdir(w.path("c"), 0o755); !errors.Is(err, syscall.EIO) {
		t.Errorf("third change: got %v, want EIO", err)
	}
	select {
	case <-disk.Dead():
	default:
		t.Error("the disk is alive after the cut")
	}
	if _, err := os.ReadDir(w.dir); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading a dead disk: got %v, want EIO", err)
	}
}

func TestSyncOutcomes(t *testing.T) {
	decide := func(on string, o fusefs.Outcome) func(string) fusefs.Outcome {
		return func(path string) fusefs.Outcome {
			if path == on {
				return o
			}
			return fusefs.Durable
		}
	}
	tests := []struct {
		name string
		on   string // the path whose first sync has the outcome; later ones are durable
		how  fusefs.Outcome
		want []string
	}{
		{"file lied about, then synced", "a", fusefs.Lie, []string{`a="x"`}},
		{"directory lied about, then synced", "", fusefs.Lie, []string{`a="x"`}},
		// The pages are clean after the failure: another sync does not help.
		{"file failed, then tried again", "a", fusefs.Fail, []string{`a=""`, `a="\x00"`, `a="x"`}},
		{"directory failed, then tried again", "", fusefs.Fail, []string{`a="x"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := fusefs.New(fusefs.Options{})
			w := mounted(t, disk)
			w.write("a", "x", false)
			disk.OnSync(decide(tt.on, tt.how))
			err := errors.Join(syncPath(w.path("a")), syncPath(w.dir))
			if failed := errors.Is(err, syscall.EIO); failed != (tt.how == fusefs.Fail) {
				t.Errorf("first sync: got %v", err)
			}
			disk.OnSync(nil)
			w.sync("a")
			w.sync(".")
			if got := after(t, disk); !slices.Equal(got, tt.want) {
				t.Errorf("after the cut: got %q, want %q", got, tt.want)
			}
			if got := disk.Syncs(); got["a"] != 2 || got[""] != 2 {
				t.Errorf("syncs: got %v, want two of the file and two of the root", got)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	disk := fusefs.New(fusefs.Options{Limit: 64 << 10})
	w := mounted(t, disk)
	err := os.WriteFile(w.path("big"), make([]byte, 1<<20), 0o644)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing past the end: got %v, want ENOSPC", err)
	}
	if err := os.Mkdir(w.path("d"), 0o755); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("mkdir on a full disk: got %v, want ENOSPC", err)
	}
	open, err := os.Open(w.path("big"))
	w.must(err)
	w.must(os.Remove(w.path("big")))
	if err := os.Mkdir(w.path("d"), 0o755); err == nil {
		// The room of the name was freed; that of the open file's bytes must not be.
		err = os.WriteFile(w.path("more"), make([]byte, 4096), 0o644)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("an unlinked open file gave its room back: %v", err)
		}
	}
	w.must(open.Close())
	shrinks(t, disk, 16<<10)
	w.must(os.WriteFile(w.path("fits"), make([]byte, 32<<10), 0o644))
	disk.SetLimit(0)
	w.must(os.WriteFile(w.path("fits too"), make([]byte, 1<<20), 0o644))
}

// shrinks waits until a disk holds at most the given number of bytes: the kernel reports a
// closed file after close has returned.
func shrinks(t *testing.T, disk *fusefs.FS, most int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); disk.Used() > most; {
		if time.Now().After(end) {
			t.Errorf("%d bytes stay used, want at most %d", disk.Used(), most)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFoldCase(t *testing.T) {
	disk := fusefs.New(fusefs.Options{FoldCase: true})
	w := mounted(t, disk)
	w.write("Tag", "one", false)
	w.write("tAG", "two", false)
	if got, want := tree(t, w.dir), `Tag="two"`; got != want {
		t.Errorf("one name in two spellings: got %s, want %s", got, want)
	}
	if _, err := os.OpenFile(w.path("TAG"), os.O_CREATE|os.O_EXCL, 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("exclusive create under another spelling: got %v, want it to exist", err)
	}
	w.must(os.Remove(w.path("tag")))
	if got := tree(t, w.dir); got != "" {
		t.Errorf("removed under another spelling: got %s", got)
	}
}

func TestFilesBehave(t *testing.T) {
	w := mounted(t, fusefs.New(fusefs.Options{}))
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	w.must(os.WriteFile(w.path("large"), large, 0o644))
	if got, err := os.ReadFile(w.path("large")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("1 MiB read back: %d bytes, %v", len(got), err)
	}
	w.must(os.Truncate(w.path("large"), 3))
	w.must(os.Truncate(w.path("large"), 5))
	if got, _ := os.ReadFile(w.path("large")); string(got) != "012\x00\x00" {
		t.Errorf("cut to 3 and grown to 5 bytes: got %q", got)
	}
	w.mkdir("many")
	for i := range 1000 {
		w.write(fmt.Sprintf("many/%04d", i), "", false)
	}
	if list, err := os.ReadDir(w.path("many")); err != nil || len(list) != 1000 {
		t.Errorf("a directory of 1000 files: got %d, %v", len(list), err)
	}
	if err := os.Remove(w.path("many")); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("removing a full directory: got %v, want ENOTEMPTY", err)
	}
	lock := func() (*os.File, error) {
		file, err := os.OpenFile(w.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
		w.must(err)
		return file, syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	first, err := lock()
	w.must(err)
	second, err := lock()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("second lock: got %v, want EWOULDBLOCK", err)
	}
	w.must(errors.Join(first.Close(), second.Close()))
}
