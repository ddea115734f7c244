package dir_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// An upload that is being made durable has no file under its key yet.
func TestRenameWaitsForACommit(t *testing.T) {
	release := make(chan struct{})
	storage, err := dir.Open(t.TempDir(), dir.Config{
		Verify: func(string, io.Reader) error { return nil },
		Sync: func(f *os.File) error {
			if strings.Contains(f.Name(), "/uploads/") { // the name with which an upload was opened
				<-release
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	u, err := b.NewUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(t.Context(), strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	info, err := u.Commit(t.Context(), "k", "")
	if err != nil {
		t.Fatal(err)
	}
	renamed := make(chan error)
	go func() { renamed <- b.Rename(t.Context(), "k", info.Version, "to") }()
	for _, key := range []string{"k", "to"} { // neither waits for the rename
		if _, err := b.Stat(t.Context(), key); (err == nil) != (key == "k") {
			t.Errorf("%s: %v", key, err)
		}
	}
	close(release)
	if err := <-renamed; err != nil {
		t.Errorf("rename: %v", err)
	}
	if data, _, err := b.Get(t.Context(), "to"); err != nil || string(data) != "content" {
		t.Errorf("got %q, %v", data, err)
	}
	if err := bucket.Sync(t.Context(), b, "k", "to"); err != nil {
		t.Error(err)
	}
}
