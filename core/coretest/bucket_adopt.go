package coretest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// foreign is a file of somebody else.
type foreign struct {
	f    *bucketFixture
	path string
	data string
	was  os.FileInfo
}

// foreignTime is long ago, as if the file had lain there for years.
var foreignTime = time.Date(2001, time.February, 3, 4, 5, 6, 7000, time.UTC)

// foreign writes a file that is large enough to be adopted.
func (f *bucketFixture) foreign(data string) *foreign {
	f.Helper()
	file := &foreign{f: f, path: filepath.Join(f.TempDir(), "file"), data: strings.Repeat(data, 5000)}
	err := errors.Join(
		os.WriteFile(file.path, []byte(file.data), 0o640), os.Chmod(file.path, 0o640),
		os.Chtimes(file.path, foreignTime, foreignTime),
	)
	if err == nil {
		file.was, err = os.Stat(file.path)
	}
	if err != nil {
		f.Fatal(err)
	}
	return file
}

// adopt begins to adopt the file. What is not closed is closed with the test.
func (o *foreign) adopt() bucket.Adoption {
	o.f.Helper()
	a, err := o.tryAdopt()
	if err != nil {
		o.f.Fatal(err)
	}
	return a
}

func (o *foreign) tryAdopt() (bucket.Adoption, error) {
	file, err := os.Open(o.path)
	if err != nil {
		o.f.Fatal(err)
	}
	defer file.Close()
	return o.f.b.(bucket.Adopt).Adopt(o.f.ctx, file)
}

// unchanged checks that its owner finds the file as it was.
func (o *foreign) unchanged() {
	o.f.Helper()
	data, err := os.ReadFile(o.path)
	if err != nil {
		o.f.Fatal(err)
	}
	fi, err := os.Stat(o.path)
	if err != nil || string(data) != o.data || fi.Mode() != o.was.Mode() || !fi.ModTime().Equal(o.was.ModTime()) {
		o.f.Errorf("the file has %d bytes, mode %v and time %v, %v; it had %d, %v and %v",
			len(data), fi.Mode(), fi.ModTime(), err, len(o.data), o.was.Mode(), o.was.ModTime())
	}
}

// commitAdopted makes the adoption the object key and closes it.
func (f *bucketFixture) commitAdopted(a bucket.Adoption, key, damaged string) (adopted bool) {
	f.Helper()
	_, adopted, err := a.Commit(f.ctx, key, damaged)
	if err := errors.Join(err, a.Close()); err != nil {
		f.Fatalf("adopt as %s: %v", key, err)
	}
	return adopted
}

var adoptClauses = []bucketClause{
	{"a file becomes an object, and stays what it is", func(f *bucketFixture) {
		began := time.Now().Add(-time.Second) // clocks of file systems tick slowly
		file := f.foreign("x")
		a := file.adopt()
		f.lacks("a/b")
		content, err := a.Open()
		if err != nil {
			f.Fatal(err)
		}
		if got, err := io.ReadAll(content); err != nil || string(got) != file.data {
			f.Errorf("read %d bytes before the commit, %v", len(got), err)
		}
		content.Close()
		if !f.commitAdopted(a, "a/b", "") {
			f.Error("nothing was adopted")
		}
		if got := f.has("a/b", file.data); !got.Time.After(began) {
			f.Errorf("the object is of %v, the time of its file", got.Time)
		}
		f.sync("a/b")
		f.reopen()
		made := f.has("a/b", file.data)
		if err := f.rename("a/b", made.Version, "c"); err != nil {
			f.Fatal(err)
		}
		if got := f.has("c", file.data); !got.Time.After(began) {
			f.Errorf("after a rename the object is of %v", got.Time)
		}
		f.sync("a/b", "c")
		file.unchanged()
		f.put("c", "another", always)
		f.sync("c")
		file.unchanged()
		f.delete("c")
		f.sync("c")
		file.unchanged()
	}},
	{"the object outlives the file", func(f *bucketFixture) {
		file := f.foreign("x")
		f.commitAdopted(file.adopt(), "k", "")
		if err := os.Remove(file.path); err != nil {
			f.Fatal(err)
		}
		f.has("k", file.data)
		if err := f.rename("k", f.has("k", file.data).Version, "t"); err != nil {
			f.Fatal(err)
		}
		f.has("t", file.data)
	}},
	{"an object of the same size is kept unless it is damaged", func(f *bucketFixture) {
		file := f.foreign("x")
		held := f.commit(f.upload(strings.Repeat("y", len(file.data))), "k")
		for _, damaged := range []string{"", "another version"} {
			if f.commitAdopted(file.adopt(), "k", damaged) {
				f.Errorf("damaged %q: the object was replaced", damaged)
			}
			f.has("k", strings.Repeat("y", len(file.data)))
		}
		if !f.commitAdopted(file.adopt(), "k", held.Version) {
			f.Error("the damaged object was kept")
		}
		f.has("k", file.data)
		f.put("short", "s", always)
		if !f.commitAdopted(file.adopt(), "short", "") {
			f.Error("the object of another size was kept")
		}
		f.sync("k", "short")
		f.has("short", file.data)
		// The damaged object may be the file itself.
		if !f.commitAdopted(file.adopt(), "k", f.has("k", file.data).Version) {
			f.Error("the damaged object was kept")
		}
		f.has("k", file.data)
		file.unchanged()
	}},
	{"a deleted object is committed again", func(f *bucketFixture) {
		file := f.foreign("x")
		a := file.adopt()
		for range 2 {
			if _, adopted, err := a.Commit(f.ctx, "k", ""); err != nil || !adopted {
				f.Fatalf("got %v, %v", adopted, err)
			}
			f.has("k", file.data)
			f.delete("k")
			f.lacks("k")
		}
		if err := a.Close(); err != nil {
			f.Error(err)
		}
		file.unchanged()
	}},
	{"a file that was changed does not become an object", func(f *bucketFixture) {
		for name, change := range map[string]func(path string) error{
			"longer": func(path string) error {
				return os.WriteFile(path, []byte(strings.Repeat("y", 6000)), 0)
			},
			"of the same size": func(path string) error {
				return os.WriteFile(path, []byte(strings.Repeat("y", 5000)), 0)
			},
			"cut": func(path string) error { return os.Truncate(path, 4999) },
		} {
			file := f.foreign("x")
			a := file.adopt()
			if err := change(file.path); err != nil {
				f.Fatal(err)
			}
			_, adopted, err := a.Commit(f.ctx, "k", "")
			switch {
			case a.Cloned() && adopted:
				f.has("k", file.data)
				f.delete("k")
			default:
				f.want(name, err, bucket.ErrChanged)
				f.lacks("k")
			}
			if err := a.Close(); err != nil {
				f.Error(err)
			}
		}
	}},
	{"a file that was replaced does not matter", func(f *bucketFixture) {
		file := f.foreign("x")
		a := file.adopt()
		other := f.foreign("y")
		if err := os.Rename(other.path, file.path); err != nil {
			f.Fatal(err)
		}
		f.commitAdopted(a, "k", "")
		f.has("k", file.data)
	}},
	{"other files are refused", func(f *bucketFixture) {
		small, future, directory := f.foreign("x"), f.foreign("x"), f.foreign("x")
		tomorrow := time.Now().Add(24 * time.Hour)
		err := errors.Join(os.Truncate(small.path, 4096), os.Chtimes(future.path, time.Time{}, tomorrow))
		directory.path = filepath.Dir(directory.path)
		for name, file := range map[string]*foreign{"a small one": small, "one from the future": future, "a directory": directory} {
			_, adoptErr := file.tryAdopt()
			f.want(name, adoptErr, errors.ErrUnsupported)
		}
		if err != nil {
			f.Error(err)
		}
	}},
	{"an invalid key is refused", func(f *bucketFixture) {
		a := f.foreign("x").adopt()
		_, _, err := a.Commit(f.ctx, "a//b", "")
		f.want("commit", err, bucket.ErrKeyInvalid)
		if err := a.Close(); err != nil {
			f.Error(err)
		}
	}},
}
