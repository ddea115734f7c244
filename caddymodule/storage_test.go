package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// emptyStorage is the directory of a storage that was opened and has no content.
func emptyStorage(t *testing.T) string {
	t.Helper()
	made := t.TempDir()
	storage, err := dir.Open(made, dir.Config{})
	if err == nil {
		err = storage.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestMirrorsLieElsewhereAndAreLockedThere(t *testing.T) {
	storage, mirrors, port := t.TempDir(), filepath.Join(t.TempDir(), "mirrors"), freePort(t)
	elsewhere := func(path string) string { return site(port, storage+" {\nmirrors "+path+"\n}", allowAll, "") }
	load(t, elsewhere(mirrors))
	r := at(t, port)
	r.pushImage("team/app", "v1", randomBytes(100))
	if text := readFile(t, filepath.Join(mirrors, "CACHEDIR.TAG")); !strings.HasPrefix(text, "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("got %q, want the mark of a cache", text)
	}
	for _, path := range []string{storage, mirrors} {
		if other, err := dir.Open(path, dir.Config{}); err == nil {
			t.Errorf("%s is not locked", path)
			other.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(storage, "mirrors")); !os.IsNotExist(err) {
		t.Errorf("mirrors are in the storage too: %v", err)
	}
	if err := loadError(t, adapt(t, elsewhere(mirrors+"2"))); err == nil || !strings.Contains(err.Error(), "stopped and started") {
		t.Errorf("got %v, want a sentence that the mirrors cannot move now", err)
	}
	r.want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)

	// A cache may be deleted while nobody uses it.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(mirrors); err != nil {
		t.Fatal(err)
	}
	load(t, elsewhere(mirrors))
	r.want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	r.pushImage("team/app", "v2", randomBytes(100))
}

func TestMirrorsKeepOutOfTheOtherTrees(t *testing.T) {
	root := t.TempDir()
	for path, allowed := range map[string]bool{
		root:                               false,
		filepath.Join(root, "private"):     false,
		filepath.Join(root, "private/x"):   false,
		filepath.Join(root, "identity"):    false,
		filepath.Join(root, "index"):       false,
		filepath.Join(root, "mirrors"):     true,
		filepath.Join(root, "private-too"): true,
		filepath.Dir(root):                 true,
	} {
		storage := storage.File{Path: root, Mirrors: path}
		if err := storage.Provision(caddy.Context{}); (err == nil) != allowed {
			t.Errorf("mirrors %s: got %v, want allowed %t", path, err, allowed)
		}
	}
}
