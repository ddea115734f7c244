package dir_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

func TestASecondOpenNamesTheFirst(t *testing.T) {
	path := t.TempDir()
	first, err := dir.Open(path, dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = dir.Open(path, dir.Config{})
	want := fmt.Sprintf("storage %s is in use by process %d (", path, os.Getpid())
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "stop it, or choose another directory") {
		t.Errorf("got error %v, want it to begin with %q and say what to do", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := dir.Open(path, dir.Config{})
	if err != nil {
		t.Fatalf("open after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// The version is raised before anything is converted. An open that was interrupted before that
// leaves a directory that an older program can still read.
func TestAnOlderLayoutIsRaised(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "layout.json")
	if err := os.WriteFile(file, []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	version := func() string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	failing := errors.New("no sync")
	_, err := dir.Open(path, dir.Config{Sync: func(f *os.File) error {
		if strings.HasSuffix(f.Name(), "layout.json.new") {
			return failing
		}
		return f.Sync()
	}})
	if !errors.Is(err, failing) || version() != `{"version":2}` {
		t.Errorf("got %v and %s, want the failed sync and version 2", err, version())
	}
	for range 2 {
		s, err := dir.Open(path, dir.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if version() != `{"version":3}` {
			t.Errorf("got %s, want version 3", version())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct {
		layout string
		want   string
	}{
		"a newer layout":            {`{"version":4}`, "run the newer program"},
		"an older layout":           {`{"version":1}`, "copy its images"},
		"a layout without version":  {`{}`, "has no version"},
		"a layout that is not JSON": {`version: 1`, "has no version"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			if err := os.WriteFile(filepath.Join(path, "layout.json"), []byte(tt.layout), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := dir.Open(path, dir.Config{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want it to say %q", err, tt.want)
			}
		})
	}
	t.Run("a disk that does not sync directories", func(t *testing.T) {
		_, err := dir.Open(t.TempDir(), dir.Config{Sync: func(f *os.File) error {
			if fi, err := f.Stat(); err != nil || fi.IsDir() {
				return os.ErrInvalid
			}
			return f.Sync()
		}})
		if err == nil || !strings.Contains(err.Error(), "does not sync directories") {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("a relative path where the working directory is the root", func(t *testing.T) {
		t.Chdir("/")
		if _, err := dir.Open("data", dir.Config{}); err == nil || !strings.Contains(err.Error(), "absolute path") {
			t.Errorf("got error %v, want it to ask for an absolute path", err)
		}
	})
}

func TestARelativePathIsBelowTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s, err := dir.Open("./a/data", dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := filepath.Join(wd, "a/data"); s.Path() != want {
		t.Errorf("got path %s, want %s", s.Path(), want)
	}
}

func TestABucketsNameIsOneComponent(t *testing.T) {
	s, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"", "..", "a/b", "Private", "a b"} {
		if _, err := s.Bucket(name); err == nil {
			t.Errorf("bucket %q was opened", name)
		}
	}
	one, err := s.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := s.Bucket("private"); err != nil || two != one {
		t.Errorf("a second call got %p, %v, want %p", two, err, one)
	}
}
