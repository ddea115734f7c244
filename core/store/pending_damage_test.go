package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

// A blob that was committed and not durable yet when the process ended is read through
// its digest by the next one, regardless of the clean mark.
func TestDamageOfAPendingBlobBetweenRuns(t *testing.T) {
	changes := map[string]func([]byte) []byte{"whole": func(data []byte) []byte { return data }}
	for how, change := range harms {
		changes[how] = change
	}
	for how, change := range changes {
		for _, marked := range []bool{true, false} {
			name := how
			if marked {
				name += ", with a clean mark"
			}
			t.Run(name, func(t *testing.T) {
				content := strings.Repeat("layer ", 5000)
				d := digest.FromString(content)
				release, path := make(chan struct{}), filepath.Join(t.TempDir(), "killed")
				func() {
					storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify, Sync: func(f *os.File) error {
						if strings.Contains(f.Name(), "/uploads/") || strings.HasPrefix(f.Name(), "uploads/") {
							<-release
						}
						return f.Sync()
					}})
					must(t, err)
					b, err := storage.Bucket("private")
					must(t, err)
					s, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}})
					must(t, err)
					r := &registry{Store: s, bucket: b, storage: storage}
					defer r.close(t)
					defer close(release)
					r.blob(t, "a", content)
					must(t, os.CopyFS(path, os.DirFS(storage.Path())))
				}()

				pending, err := filepath.Glob(filepath.Join(path, "private", "pending", "*"))
				must(t, err)
				if len(pending) != 1 {
					t.Fatalf("pending: %q", pending)
				}
				data, err := os.ReadFile(pending[0])
				must(t, err, os.Remove(pending[0]))
				if change != nil {
					must(t, os.WriteFile(pending[0], change(data), 0o600))
				}
				if marked {
					must(t, os.WriteFile(filepath.Join(path, "clean"), nil, 0o600))
				}
				r := open(t, path, store.Config{})
				if _, err := r.Stat(t.Context(), "a", d); (how == "whole") != (err == nil) || err != nil && !errors.Is(err, core.ErrBlobUnknown) && !errors.Is(err, core.ErrNameUnknown) {
					t.Errorf("HEAD of the blob: %v", err)
				}
				r.blob(t, "a", content)
				if !r.reads(t, "a", content) {
					t.Error("a push did not put it right")
				}
			})
		}
	}
}
