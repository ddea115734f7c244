package caddymodule_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

func TestLimitsHoldForPushes(t *testing.T) {
	port, storage := registrytest.FreePort(t), t.TempDir()
	configure := func(limits string) *registrytest.Registry {
		registrytest.Serve(t, port, storage, registrytest.AllowAll+"\nlimits {\n"+limits+"\n}", "")
		return registrytest.At(t, port)
	}
	const begin = "/v2/a/blobs/uploads/"
	manifest := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`
	put := func(r *registrytest.Registry, status int) {
		r.Want(status, "PUT", "/v2/a/manifests/v1", strings.NewReader(manifest),
			"Content-Type", ocispec.MediaTypeImageIndex)
	}
	whole := func(r *registrytest.Registry, status, size int) {
		data := registrytest.RandomBytes(size)
		r.Want(status, "POST", begin+"?digest="+digest.FromBytes(data).String(), bytes.NewReader(data))
	}

	r := configure("upload 1KiB\nuploads 2")
	whole(r, http.StatusCreated, 1024)
	whole(r, http.StatusRequestEntityTooLarge, 1025)
	first, _ := r.Want(http.StatusAccepted, "POST", begin, nil)
	r.Want(http.StatusAccepted, "PATCH", first.Header.Get("Location"), bytes.NewReader(make([]byte, 1000)))
	r.Want(http.StatusRequestEntityTooLarge, "PATCH", first.Header.Get("Location"), bytes.NewReader(make([]byte, 25)))
	r.Want(http.StatusNotFound, "GET", first.Header.Get("Location"), nil) // it could not go on
	r.Want(http.StatusAccepted, "POST", begin, nil)
	r.Want(http.StatusAccepted, "POST", begin, nil)
	if refused, _ := r.Want(http.StatusTooManyRequests, "POST", begin, nil); refused.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	put(r, http.StatusCreated) // manifests are no uploads

	// A reload acts at once, and knows who has which uploads.
	r = configure("uploads 3")
	whole(r, http.StatusCreated, 1025)
	r.Want(http.StatusAccepted, "POST", begin, nil)
	r.Want(http.StatusTooManyRequests, "POST", begin, nil)
	r = configure("uploads 5\nreserve 1000000TiB")
	r.Want(http.StatusInsufficientStorage, "POST", begin, nil)
	put(r, http.StatusInsufficientStorage)
	r.Want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	r.Want(http.StatusAccepted, "DELETE", "/v2/a/manifests/v1", nil)
	r = configure("uploads 5\nreserve 0")
	r.Want(http.StatusAccepted, "POST", begin, nil)
}

// An upload that has been idle is worth less than the room that pushes lack.
func TestACollectionInTheReserveDropsIdleUploads(t *testing.T) {
	port, storage := registrytest.FreePort(t), t.TempDir()
	const begin = "/v2/a/blobs/uploads/"
	r := withReserve(t, port, storage, "0")
	first, _ := r.Want(http.StatusAccepted, "POST", begin, nil)
	uploads := filepath.Join(storage, "private", "uploads")
	files, err := os.ReadDir(uploads)
	if err != nil || len(files) != 1 {
		t.Fatalf("uploads: %v, %v", files, err)
	}
	idle := time.Now().Add(-11 * time.Minute)
	if err := os.Chtimes(filepath.Join(uploads, files[0].Name()), idle, idle); err != nil {
		t.Fatal(err)
	}
	second, _ := r.Want(http.StatusAccepted, "POST", begin, nil)
	for _, row := range []struct {
		reserve string
		status  int // of the idle upload
	}{{"0", http.StatusNoContent}, {"1000000TiB", http.StatusNotFound}} {
		r := withReserve(t, port, storage, row.reserve)
		if _, told, status := registrytest.Run(t, "gc", "--storage", storage); status != registrytest.Done {
			t.Fatal(told)
		}
		r.Want(row.status, "GET", first.Header.Get("Location"), nil)
		r.Want(http.StatusNoContent, "GET", second.Header.Get("Location"), nil)
	}
}

func withReserve(t *testing.T, port int, storage, reserve string) *registrytest.Registry {
	t.Helper()
	registrytest.Serve(t, port, storage, registrytest.AllowAll+"\nlimits {\nreserve "+reserve+"\n}", "")
	return registrytest.At(t, port)
}

func TestLimitsAreChecked(t *testing.T) {
	for _, row := range []struct{ name, block, want string }{
		{"nothing said", "limits", ""},
		{"all of it", "limits {\nupload 1GiB\nuploads 1\nkeys 1\nreserve 0\n}", ""},
		{"a reserve", "limits {\nreserve 1GiB\n}", ""},
		{"a reserve that is none", "limits {\nreserve 5%\n}", "Caddyfile:4"},
		{"an upload of nothing", "limits {\nupload 0\n}", "upload: \"0\" is not a size"},
		{"no uploads", "limits {\nuploads 0\n}", "uploads: \"0\" is not a number of at least 1"},
		{"no keys", "limits {\nkeys none\n}", "keys: \"none\" is not a number"},
	} {
		err := registrytest.AdaptError("{\noci {\n" + row.block + "\n}\n}")
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	for config, want := range map[string]string{
		`{"upload": "much"}`:  "limits: upload",
		`{"reserve": "much"}`: "limits: reserve",
		`{"uploads": -1}`:     "positive",
		`{"keys": -1}`:        "positive",
	} {
		if err := registrytest.Validate(t, `{"apps": {"oci": {"limits": `+config+`}}}`); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", config, err, want)
		}
	}
}
