package pages

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/chromium"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// holdUp replaces the file of a manifest by a pipe, so that the server, which must be stopped, waits
// when it reads it. The function that it returns puts the file back and ends the wait.
func (h *house) holdUp(manifest digest.Digest) (goOn func()) {
	h.Helper()
	file := filepath.Join(h.Data, "private", "objects", "blobs", "sha256", manifest.Encoded()[:2], manifest.Encoded())
	pipe, aside := filepath.Join(h.TempDir(), "pipe"), filepath.Join(h.TempDir(), "aside")
	must := func(err error) {
		h.Helper()
		if err != nil {
			h.Fatal(err)
		}
	}
	must(os.Rename(file, aside))
	must(syscall.Mkfifo(file, 0o600))
	return func() {
		h.Helper()
		must(os.Rename(file, pipe)) // the reader waits at the same pipe
		must(os.Rename(aside, file))
		must(server.Eventually(patience, func() (bool, error) {
			end, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0) // an error: nobody reads it yet
			if err != nil {
				return false, nil
			}
			return true, end.Close()
		}))
	}
}

// The index of private images is gone, and the server comes as far as the last of them when it
// describes what it holds.
func TestAnIndexThatIsBeingBuilt(t *testing.T) {
	axe := chromium.Axe(t)
	h := open(t, unit)
	data, _, err := client.New(h.URL).Manifest(t.Context(), "tools/nettest", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(patience); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(h.Data, "index", "private.db")); err != nil {
		t.Fatal(err)
	}
	goOn := h.holdUp(digest.FromBytes(data))
	h.Server = server.Start(t, h.options)
	const (
		home     = "/images/blumeops/homepage"
		building = "The index is being built"
		some     = "Not all images are described yet" // for those who may not know how many there are
		count    = "images are described."
	)
	h.examine(axe, []shown{
		{"start with half an index", "/", nil, []string{building, some, "docker.io"}, false},
		{"list with half an index", "/images", nil, []string{building, some}, false},
		{"search in half an index", "/images?q=nettest", nil, []string{building, some}, false},
		{"repository with half an index", home, nil, []string{building, some}, false},
		{"repository that is not described", "/images/tools/nettest", nil, []string{building, some}, false},
		{"image with half an index", home + ":v1.10.2", nil, []string{building, some, "docker pull"}, false},
	})
	h.signIn("erich")
	h.examine(axe, []shown{
		{"start with half an index, counted", "/", nil, []string{building, count}, false},
		{"list with half an index, counted", "/images", nil, []string{building, count}, false},
		{"storage with half an index", "/admin/storage", nil, []string{building, count}, false},
		{"delete with half an index", home + "/-/delete?tag=v1.9.3", nil,
			[]string{building, "not known while the index is being built"}, false},
	})
	goOn()
	if err := server.Eventually(patience, func() (bool, error) {
		h.visit("/admin/storage")
		text, err := chromedp.Run(h.ctx, chromedp.Text(chromedp.CSS("body")))
		return !strings.Contains(text, building), err
	}); err != nil {
		t.Errorf("the page still says that the index is being built: %v", err)
	}
}
