package index_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core/index"
)

// harms are what disks and people do to the file of an index.
var harms = map[string]func(file string) error{
	"flipped": func(file string) error { return flip(file, 1<<14, 0x10) },
	"cut":     func(file string) error { return os.Truncate(file, 5000) },
	"emptied": func(file string) error { return os.Truncate(file, 0) },
	"overgrown": func(file string) error {
		fi, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, fi.Size()+100)
	},
	"zeroed": func(file string) error {
		fi, err := os.Stat(file)
		if err != nil {
			return err
		}
		return errors.Join(os.Truncate(file, 0), os.Truncate(file, fi.Size()))
	},
	"removed":       os.Remove,
	"an empty file": func(file string) error { return errors.Join(os.Remove(file), os.WriteFile(file, nil, 0o600)) },
	"a directory":   func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
	"a dead link":   func(file string) error { return errors.Join(os.Remove(file), os.Symlink("nowhere", file)) },
	"unreadable":    func(file string) error { return os.Chmod(file, 0) },
}

// flip changes one byte where it is, so that a mapping of the file sees it.
func flip(file string, at int64, bits byte) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= bits
	_, err = f.WriteAt(b, at)
	return err
}

const repos, tags = 50, 100

// filled is an index of some pages that is open, and the damages that it was told of.
func filled(t *testing.T, path string, met *[]error) *index.Index {
	t.Helper()
	x, err := index.Open(path, func(err error) { *met = append(*met, err) })
	must(t, err)
	fill(t, x)
	return x
}

func fill(t *testing.T, x *index.Index) {
	t.Helper()
	var rows []index.Entry
	for i := range repos {
		repo := fmt.Sprintf("r%02d", i)
		rows = append(rows, index.Entry{Repo: repo, Digest: one}, index.Entry{Repo: repo, Digest: two})
		for j := range tags {
			rows = append(rows, index.Entry{Repo: repo, Tag: fmt.Sprintf("t%03d", j), Digest: one})
		}
	}
	rebuild(t, x, rows...)
}

// exercise reads and writes everything, and reports an answer that is wrong. Those that
// are missing because the index says that it is damaged are right.
func exercise(t *testing.T, x *index.Index) {
	t.Helper()
	damaged := func(err error) bool {
		t.Helper()
		if err != nil && (!errors.Is(err, index.ErrDamaged) || x.Ready()) {
			t.Errorf("got error %v and ready %v", err, x.Ready())
		}
		return err != nil
	}
	i := 0
	for repo, err := range x.Repositories("") {
		if want := fmt.Sprintf("r%02d", i); !damaged(err) && repo != want {
			t.Errorf("repository %d: got %q", i, repo)
		}
		i++
	}
	for i := range repos {
		repo, j := fmt.Sprintf("r%02d", i), 0
		for tag, err := range x.Tags(repo, "") {
			if want := fmt.Sprintf("t%03d", j); !damaged(err) && (tag != index.Tag{Name: want, Digest: one}) {
				t.Errorf("tag %d of %s: got %v", j, repo, tag)
			}
			j++
		}
		var got []string
		for d, err := range x.Manifests(repo) {
			if !damaged(err) {
				got = append(got, d.String())
			}
		}
		for _, d := range got {
			if d != one.String() && d != two.String() {
				t.Errorf("manifest of %s: got %s", repo, d)
			}
		}
		_, err := x.HasRepository(repo)
		damaged(err)
	}
	damaged(x.PutTag("r10", "t050", one))
	damaged(x.PutManifest("r20", one))
	damaged(x.PutTag("x", "y", two))
	damaged(x.PutManifest("x", two))
	damaged(x.DeleteTag("x", "y"))
	damaged(x.DeleteManifest("x", two))
}

func wantWhole(t *testing.T, x *index.Index) {
	t.Helper()
	if !x.Ready() {
		t.Fatal("the index is not ready")
	}
	exercise(t, x)
	if n := len(collect(t, x.Repositories(""))); n != repos {
		t.Errorf("got %d repositories, want %d", n, repos)
	}
	if n := len(collect(t, x.Tags("r49", ""))); n != tags {
		t.Errorf("got %d tags, want %d", n, tags)
	}
}

// No damage ends the process, and a rebuild or the next start puts everything right.
func TestDamageWhileOpen(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			var met []error
			path := filepath.Join(t.TempDir(), "x.db")
			x := filled(t, path, &met)
			must(t, harm(path+".open"))
			for range 3 {
				exercise(t, x)
			}
			if lost := name == "flipped" || name == "cut" || name == "emptied" || name == "zeroed"; lost != !x.Ready() || len(met) > 1 || lost != (len(met) == 1) {
				t.Errorf("ready is %v and it told of %v", x.Ready(), met)
			}
			must(t, x.Close())
			x = filled(t, path, &met)
			wantWhole(t, x)
			must(t, harm(path+".open"))
			exercise(t, x)
			fill(t, x)
			wantWhole(t, x)
			must(t, x.Close())
			met = nil
			x, err := index.Open(path, func(err error) { met = append(met, err) })
			must(t, err)
			wantWhole(t, x)
			must(t, x.Close())
			if len(met) > 0 {
				t.Errorf("after a rebuild it told of %v", met)
			}
		})
	}
}

func TestDamageBetweenRuns(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			var met []error
			path := filepath.Join(t.TempDir(), "x.db")
			must(t, filled(t, path, &met).Close(), harm(path))
			x, err := index.Open(path, func(err error) { met = append(met, err) })
			must(t, err)
			readable := name == "unreadable" && os.Geteuid() == 0
			if want := name != "removed" && !readable; x.Ready() != readable || want != (len(met) == 1) {
				t.Errorf("ready is %v and it told of %v", x.Ready(), met)
			}
			fill(t, x)
			wantWhole(t, x)
			must(t, x.Close())
			if x = open(t, path); !x.Ready() {
				t.Error("not ready at the next start")
			}
			must(t, x.Close())
		})
	}
}

// A changed byte is met anywhere, by the checksum of the file, of a row, or by bbolt.
func TestFlips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	var met []error
	must(t, filled(t, path, &met).Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	for at := 0; at < len(whole); at += 7919 {
		flipped := slices.Clone(whole)
		flipped[at] ^= 0x20
		must(t, os.WriteFile(path, flipped, 0o600))
		met = nil
		x, err := index.Open(path, func(err error) { met = append(met, err) })
		must(t, err)
		if x.Ready() || len(met) != 1 {
			t.Errorf("byte %d: ready is %v and it told of %v", at, x.Ready(), met)
		}
		must(t, x.Close(), os.WriteFile(path, whole, 0o600))
		x, err = index.Open(path, func(error) {})
		must(t, err, flip(path+".open", int64(at), 0x20))
		exercise(t, x)
		must(t, x.Close())
	}
}
