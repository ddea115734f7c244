package index_test

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
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

// repoNames and tagNames are what is in the index, in order.
var repoNames, tagNames = numbered("r", 50), numbered("t", 100)

func numbered(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s%03d", prefix, i))
	}
	return names
}

// filled returns an open index of several pages, and the damages that it has reported.
func filled(t *testing.T, path string, met *[]error) *index.Index {
	t.Helper()
	x, err := index.Open(path, func(err error) { *met = append(*met, err) })
	must(t, err)
	fill(t, x)
	return x
}

func fill(t *testing.T, x *index.Index) {
	t.Helper()
	var rows []store.NameRow
	for _, repo := range repoNames {
		rows = append(rows, store.NameRow{Repo: repo, Digest: one}, store.NameRow{Repo: repo, Digest: two})
		for _, tag := range tagNames {
			rows = append(rows, store.NameRow{Repo: repo, Tag: tag, Digest: one})
		}
	}
	rebuild(t, x, rows...)
}

// exercise reads and writes everything, and reports what is wrong. An index that says that
// it is damaged is right, and rows may be missing: a page may say that it has fewer.
func exercise(t *testing.T, x *index.Index) {
	t.Helper()
	damaged := func(err error) bool {
		t.Helper()
		if err != nil && (!errors.Is(err, store.ErrDamaged) || x.Ready()) {
			t.Errorf("got error %v and ready %v", err, x.Ready())
		}
		return err != nil
	}
	last := ""
	for repo, err := range x.Repositories("") {
		if !damaged(err) && (!slices.Contains(repoNames, repo) || repo <= last) {
			t.Errorf("repository behind %q: got %q", last, repo)
		}
		last = repo
	}
	for _, repo := range repoNames {
		last := ""
		for tag, err := range x.Tags(repo, "") {
			if !damaged(err) && (!slices.Contains(tagNames, tag.Name) || tag.Name <= last || tag.Digest != one) {
				t.Errorf("tag of %s behind %q: got %v", repo, last, tag)
			}
			last = tag.Name
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
	damaged(x.PutTag("r010", "t050", one))
	damaged(x.PutManifest("r020", one))
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
	if got := collect(t, x.Repositories("")); !slices.Equal(got, repoNames) {
		t.Errorf("got repositories %q", got)
	}
	for _, repo := range repoNames {
		if got := names(collect(t, x.Tags(repo, ""))); !slices.Equal(got, tagNames) {
			t.Errorf("got tags of %s %q", repo, got)
		}
		if got := collect(t, x.Manifests(repo)); len(got) != 2 || got[0] == got[1] {
			t.Errorf("got manifests of %s %q", repo, got)
		}
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

// A changed byte is met anywhere, by the checksum of the file, of a row, or by bbolt. Of
// rows that have disappeared without a trace the index is not kept.
func TestFlips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	var met []error
	must(t, filled(t, path, &met).Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	harmed := map[bool]int{} // by whether the next run believes what this one left
	flips := func(at int, bit byte) {
		flipped := slices.Clone(whole)
		flipped[at] ^= bit
		must(t, os.WriteFile(path, flipped, 0o600))
		met = nil
		x, err := index.Open(path, func(err error) { met = append(met, err) })
		must(t, err)
		if x.Ready() || len(met) != 1 {
			t.Errorf("byte %d: ready is %v and it told of %v", at, x.Ready(), met)
		}
		must(t, x.Close(), os.WriteFile(path, whole, 0o600))

		met = nil
		x, err = index.Open(path, func(err error) { met = append(met, err) })
		must(t, err, flip(path+".open", int64(at), bit))
		exercise(t, x)
		must(t, x.Close())
		if len(met) > 1 {
			t.Errorf("byte %d: told of %v", at, met)
		}
		x, err = index.Open(path, func(err error) { t.Errorf("byte %d: damage at the next start: %v", at, err) })
		must(t, err)
		if x.Ready() {
			wantWhole(t, x)
		}
		harmed[x.Ready()]++
		must(t, x.Close())
	}
	for at := 0; at < len(whole); at += 17 * 4096 {
		if elements := whole[at+10]; elements > 0 { // a page has fewer
			flips(at+10, 1<<(bits.Len8(elements)-1))
		}
		flips(at+16+4*16+8, 0x01)
		flips(at+1999, 0x20)
	}
	if harmed[true] == 0 || harmed[false] == 0 {
		t.Errorf("of the flips %d were harmless and %d not, want some of each", harmed[true], harmed[false])
	}
}

// BenchmarkClose is what a stop takes.
func BenchmarkClose(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	x := open(b, path)
	const n = 200_000
	err := x.Rebuild(b.Context(), func(yield func(store.NameRow, error) bool) {
		for i := range n {
			if !yield(store.NameRow{Repo: "r", Tag: fmt.Sprintf("t%06d", i), Digest: one}, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		x = open(b, path)
	}
	x.Close()
}
