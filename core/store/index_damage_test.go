package store_test

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/store"
)

// indexHarms damage the index in place. They do not change its inode: the file is mapped while
// the store is open.
var indexHarms = map[string]func(file string) error{
	"flipped": func(file string) error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := range data { // every page of it
			data[i] ^= 0x10
		}
		_, err = f.Write(data)
		return err
	},
	"cut":     func(file string) error { return os.Truncate(file, 9000) },
	"emptied": func(file string) error { return os.Truncate(file, 0) },
	"removed": os.Remove,
}

// TestDamageOfTheIndex: lists are what the bucket has, no push fails, the log says it
// once, and a collection or a start has the index built again.
func TestDamageOfTheIndex(t *testing.T) {
	for how, harm := range indexHarms {
		for _, serving := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, serving %v", how, serving), func(t *testing.T) {
				path, log := t.TempDir(), &bytes.Buffer{}
				file := filepath.Join(path, "index", "private.db")
				start := func() *registry {
					log := slog.New(slog.NewTextHandler(log, nil))
					return open(t, path, store.Config{Names: indexAt(t, file, log), Log: log})
				}
				r := start()
				image := r.image(t, "b", []string{"v1", "v2"}, "", "layer")
				r.image(t, "a", []string{"v1"}, "", "other")
				untilIndexed(r)
				if !serving {
					r.close(t)
					must(t, harm(file))
					r = start()
				} else {
					must(t, harm(file+".open"))
				}
				check := func(repos, tags string) {
					t.Helper()
					if got := all(t, r.Repositories(t.Context(), "")); got != repos {
						t.Errorf("repositories: got %q, want %q", got, repos)
					}
					if got := all(t, r.Tags(t.Context(), "b", "")); got != tags {
						t.Errorf("tags: got %q, want %q", got, tags)
					}
				}
				check("a b", "v1 v2")
				r.image(t, "c", []string{"v1"}, "", "third")
				r.image(t, "b", []string{"v3"}, "", "layer")
				must(t, r.DeleteTag(t.Context(), "b", "v1"))
				check("a b c", "v2 v3")
				must(t, r.DeleteManifest(t.Context(), "b", image))
				if got := all(t, r.Repositories(t.Context(), "")); got != "a c" {
					t.Errorf("repositories after a deletion: got %q", got)
				}
				r.image(t, "b", []string{"v4"}, "", "layer")
				check("a b c", "v4")

				_, err := r.Collect(t.Context(), store.CollectOptions{})
				must(t, err)
				untilIndexed(r)
				check("a b c", "v4")
				r.close(t)
				r = start()
				if how != "removed" && !store.Indexed(r.Store) {
					t.Error("the index is not ready after a clean stop")
				}
				check("a b c", "v4")
				r.close(t)
				want := 1
				if how == "removed" {
					want = 0
				}
				if got := strings.Count(log.String(), "msg=\"index is damaged"); got != want {
					t.Errorf("logged %d times, want %d: %s", got, want, log)
				}
			})
		}
	}
}

// untilIndexed returns when the rebuild of the index has ended.
func untilIndexed(r *registry) {
	for !store.Indexed(r.Store) {
		runtime.Gosched()
	}
}

func all(t *testing.T, names iter.Seq2[string, error]) string {
	t.Helper()
	var got []string
	for name, err := range names {
		must(t, err)
		got = append(got, name)
	}
	return strings.Join(got, " ")
}
