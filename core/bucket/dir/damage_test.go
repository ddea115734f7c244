package dir_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// harms are ways in which disks and people damage a file. The lock and the clean mark are empty
// or rewritten at the start, so flipping a bit in them adds a byte.
var harms = map[string]func(file string) error{
	"flipped": func(file string) error {
		return rewritten(file, func(data []byte) []byte {
			if len(data) == 0 {
				return []byte("x")
			}
			data[len(data)/3] ^= 0x10
			return data
		})
	},
	"cut": func(file string) error {
		return rewritten(file, func(data []byte) []byte { return data[:len(data)/2] })
	},
	"emptied": func(file string) error { return rewritten(file, func([]byte) []byte { return nil }) },
	"removed": os.Remove,
}

func rewritten(file string, change func([]byte) []byte) error {
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, change(data), 0o600)
	}
	return err
}

// The files of a storage are damaged between two runs. Without a version nothing is
// touched, and the error says what to do; the others are made again.
func TestDamageOfAStorageBetweenRuns(t *testing.T) {
	for file, refused := range map[string]bool{"layout.json": true, "clean": false, "lock": false} {
		for how, harm := range harms {
			t.Run(file+" "+how, func(t *testing.T) {
				path := t.TempDir()
				storage, b := reopen(t, path, dir.Config{Verify: whole})
				put(t, b, "a/put", "put")
				commit(t, b, "a/committed", "a/committed and more")
				if err := errors.Join(storage.Close(), harm(filepath.Join(path, file))); err != nil {
					t.Fatal(err)
				}
				if refused {
					_, err := dir.Open(path, dir.Config{Verify: whole})
					if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `write {"version":3} into it`) {
						t.Fatalf("got error %v, want it to say what to do", err)
					}
					if err := os.WriteFile(filepath.Join(path, file), []byte(`{"version":3}`), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					storage, b := reopen(t, path, dir.Config{Verify: whole})
					wantObject(t, b, "a/put", "put")
					wantObject(t, b, "a/committed", "a/committed and more")
					put(t, b, "a/new", "new")
					if err := storage.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// While a storage is open it knows the content of its files, and no other process can open it.
func TestDamageOfAStorageThatIsOpen(t *testing.T) {
	for _, file := range []string{"layout.json", "lock"} {
		for how, harm := range harms {
			t.Run(file+" "+how, func(t *testing.T) {
				var log bytes.Buffer
				path := t.TempDir()
				storage, b := reopen(t, path, dir.Config{Verify: whole, Log: slog.New(slog.NewTextHandler(&log, nil))})
				put(t, b, "a/put", "put")
				if err := harm(filepath.Join(path, file)); err != nil {
					t.Fatal(err)
				}
				if _, err := dir.Open(path, dir.Config{Verify: whole}); !errors.Is(err, dir.ErrInUse) {
					t.Errorf("a second open: got %v, want %v", err, dir.ErrInUse)
				}
				put(t, b, "a/more", "more")
				if err := storage.Close(); err != nil {
					t.Fatal(err)
				}
				if got := strings.Contains(log.String(), "damaged while it was open"); got != (file == "layout.json") {
					t.Errorf("logged %s", log.String())
				}
				_, b = reopen(t, path, dir.Config{Verify: whole})
				wantObject(t, b, "a/put", "put")
				wantObject(t, b, "a/more", "more")
			})
		}
	}
}

// Commits that are not durable yet are read before they are trusted. If the file of a commit
// disappears before it has its name, the sync of that commit fails, and no other.
func TestDamageOfPendingCommits(t *testing.T) {
	const content = "a/k and more"
	verify := func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err == nil && string(data) != content {
			err = errors.New("not what was committed")
		}
		return err
	}
	for how, harm := range harms {
		for _, serving := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, serving %v", how, serving), func(t *testing.T) {
				d := &disk{}
				storage, b := open(t, dir.Config{Sync: d.sync, Verify: verify})
				release := make(chan struct{})
				d.set(func(path string) error {
					if strings.HasPrefix(path, "uploads/") {
						<-release
					}
					return nil
				})
				commit(t, b, "a/k", content)
				path := storage.Path()
				if !serving {
					path = killed(t, storage)
				}
				err := harm(filepath.Join(path, "private/pending/a,k"))
				close(release)
				if err != nil {
					t.Fatal(err)
				}
				if !serving {
					_, b = reopen(t, path, dir.Config{Verify: verify})
				}
				if err := b.Sync(t.Context(), "a/k"); (err != nil) != (serving && how == "removed") {
					t.Errorf("sync: %v", err)
				}
				if !serving || how == "removed" {
					// A file that has its name already is not checked: its readers know the
					// digest.
					wantObject(t, b, "a/k", "-")
					commit(t, b, "a/k", content)
					if err := b.Sync(t.Context(), "a/k"); err != nil {
						t.Error(err)
					}
					wantObject(t, b, "a/k", content)
				}
			})
		}
	}
}
