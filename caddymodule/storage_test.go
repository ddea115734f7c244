package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
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
	storage, mirrors, port := t.TempDir(), filepath.Join(t.TempDir(), "mirrors"), registrytest.FreePort(t)
	elsewhere := func(path string) string {
		return registrytest.Caddyfile(port, storage+" {\nmirrors "+path+"\n}", registrytest.AllowAll, "")
	}
	registrytest.Load(t, elsewhere(mirrors))
	r := registrytest.At(t, port)
	r.PushImage("team/app", "v1", registrytest.RandomBytes(100))
	if text := registrytest.ReadFile(t, filepath.Join(mirrors, "CACHEDIR.TAG")); !strings.HasPrefix(text,
		"Signature: 8a477f597d28d172789f06886806bc55\n") {
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
	if err := registrytest.TryLoad(t, registrytest.Adapt(t, elsewhere(mirrors+"2"))); err == nil ||
		!strings.Contains(err.Error(), "stopped and started") {
		t.Errorf("got %v, want a sentence that the mirrors cannot move now", err)
	}
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)

	// A cache may be deleted while nobody uses it.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(mirrors); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, elsewhere(mirrors))
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	r.PushImage("team/app", "v2", registrytest.RandomBytes(100))
}

func TestMirrorsKeepOutOfTheOtherTrees(t *testing.T) {
	root := t.TempDir()
	for path, allowed := range map[string]bool{
		root:                               false,
		filepath.Join(root, "private"):     false,
		filepath.Join(root, "private/x"):   false,
		filepath.Join(root, "identity"):    false,
		filepath.Join(root, "index"):       false,
		filepath.Join(root, "history"):     false,
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
