package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Visitors and administrators see mirrors, activity and storage on pages and in the API, also after a
// restart.
func TestPagesAboutTheRegistryItself(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	_, blob := registrytest.PutImage(t, hub, "library/nginx", "latest", registrytest.RandomBytes(50_000))
	registrytest.PutImage(t, hub, "library/gone", "latest", registrytest.RandomBytes(10))
	port, directory := registrytest.FreePort(t), t.TempDir()
	config := registrytest.CaddyfileWith(port, directory, fmt.Sprintf(`local_user ada %s admins
policy {
	allow anonymous read fetch
	deny anonymous read on secret/**
	allow user ci read create update delete
	allow group admins *
}
`, registrytest.PasswordHash())+registrytest.Mirror("docker.io", hub), "")
	registrytest.Load(t, config)
	r := registrytest.At(t, port)
	r.Want(http.StatusOK, "GET", "/v2/docker.io/library/nginx/manifests/latest", nil)
	r.Want(http.StatusOK, "GET", "/v2/docker.io/library/nginx/blobs/"+blob.String(), nil)
	r.Eventually("the blob is held", func() bool {
		r.Want(http.StatusOK, "GET", "/v2/docker.io/library/nginx/blobs/"+blob.String(), nil)
		var answer struct {
			Figures struct{ Day struct{ Held int64 } }
		}
		_, data := r.Want(http.StatusOK, "GET", "/api/mirrors/docker.io", nil)
		return json.Unmarshal(data, &answer) == nil && answer.Figures.Day.Held > 0
	})
	asked := len(hub.Requests())

	admin := visit(t, port, nil)
	admin.page(http.StatusSeeOther, "/login", passwordForm("ada", registrytest.Password))
	admin.makeKey()
	r.Want(http.StatusUnauthorized, "DELETE", "/v2/docker.io/library/nginx/manifests/latest", nil)

	// Nothing that is looked at asks the upstream.
	for range 3 {
		for _, path := range []string{"/", "/mirrors", "/mirrors/docker.io", "/activity"} {
			body := wantPage(r, http.StatusOK, path)
			if path != "/" && !strings.Contains(body, `aria-current="page"`) {
				t.Errorf("%s is not in the navigation", path)
			}
		}
	}
	body := wantPage(r, http.StatusOK, "/mirrors/docker.io")
	for _, text := range []string{"Reachable", "Asked in 24 hours", "<svg viewBox=\"0 0 100 30\"", "Numbers (UTC)", "Who asks"} {
		if !strings.Contains(body, text) {
			t.Errorf("the page of the mirror has no %q", text)
		}
	}
	if strings.Contains(body, "127.0.0.1</td>") || strings.Contains(body, `name="purge"`) {
		t.Error("a visitor sees addresses, or how to purge")
	}
	if body := wantPage(r, http.StatusOK, "/activity"); strings.Contains(body, "Key made") && strings.Contains(body, "key_made") {
		t.Error("a visitor sees keys")
	}
	_, body = admin.page(http.StatusOK, "/activity", nil)
	for _, text := range []string{"Key made", "Signed in", "Refused", "docker.io/library/nginx"} {
		if !strings.Contains(body, text) {
			t.Errorf("the activity for administrators has no %q", text)
		}
	}
	if _, body := admin.page(http.StatusOK, "/mirrors/docker.io", nil); !strings.Contains(body, "127.0.0.1") {
		t.Error("an administrator sees no addresses of clients")
	}
	for path, v := range map[string]*visitor{"/images": admin, "/mirrors": visit(t, port, nil)} {
		response, _ := v.page(http.StatusOK, path, nil)
		if timed := response.Header.Get("Server-Timing"); strings.HasPrefix(timed, "page;dur=") != (v == admin) {
			t.Errorf("%s has Server-Timing %q", path, timed)
		}
	}
	_, body = admin.page(http.StatusOK, "/admin/storage", nil)
	for _, text := range []string{
		"Private images", "What mirrors hold", "docker.io/library/nginx", "free on its disk",
		"No collection has run since the start", "The first collection is due <time",
	} {
		if !strings.Contains(body, text) {
			t.Errorf("the page of the storage has no %q:\n%s", text, body)
		}
	}
	if _, told, status := registrytest.Run(t, "gc", "--storage", directory); status != registrytest.Done {
		t.Fatalf("gc: status %d: %s", status, told)
	}
	_, body = admin.page(http.StatusOK, "/admin/storage", nil)
	for _, text := range []string{"and freed nothing. Nothing was left", "The next collection is due <time"} {
		if !strings.Contains(body, text) {
			t.Errorf("the page of the storage after a collection has no %q:\n%s", text, body)
		}
	}
	if got := len(hub.Requests()); got != asked {
		t.Errorf("the pages asked the upstream %d times", got-asked)
	}

	// The addresses for administrators do not exist for others.
	for _, pair := range [][2]string{{"/admin/storage", "/admin/nothing"}, {"/api/storage", "/api/nothing"}} {
		for _, fields := range [][]string{nil, {"Accept", "text/html"}} {
			answer := func(path string) string {
				response, body := r.Want(http.StatusNotFound, "GET", path, nil, fields...)
				response.Header.Del("Date")
				response.Header.Del("Content-Length") // of a page with the address in it
				var text strings.Builder
				if err := response.Header.Write(&text); err != nil {
					t.Fatal(err)
				}
				return strings.ReplaceAll(text.String()+string(body), url.QueryEscape(path), "PATH")
			}
			if got, want := answer(pair[0]), answer(pair[1]); got != want {
				t.Errorf("%s answers\n%s\nand not as what does not exist:\n%s", pair[0], got, want)
			}
		}
	}

	// A mirror that cannot be reached is said to be away, and what was counted is still there after
	// the storage was closed.
	hub.Fault(upstreamtest.Fault{Host: "registry", Status: http.StatusBadGateway})
	r.Do("GET", "/v2/docker.io/library/gone/manifests/latest", nil)
	if body := wantPage(r, http.StatusOK, "/"); !strings.Contains(body, "the upstream cannot be reached</bdi> since") {
		t.Errorf("the start page does not say that the mirror is away:\n%s", body)
	}
	if body := wantPage(r, http.StatusOK, "/mirrors/docker.io"); !strings.Contains(body, "Away") || !strings.Contains(body, "It is left alone until") {
		t.Error("the page of the mirror does not say that it is away")
	}
	registrytest.Load(t, "{\n admin off\n}\n")
	registrytest.Released(t)
	for _, name := range []string{"events.db", "hours.db"} {
		if _, err := os.Stat(filepath.Join(directory, "history", name)); err != nil {
			t.Error(err)
		}
	}
	registrytest.Load(t, config)
	var answer struct {
		Figures struct {
			Month struct {
				Asked         int64
				Bytes_fetched int64
			}
		}
	}
	_, data := r.Want(http.StatusOK, "GET", "/api/mirrors/docker.io", nil)
	if err := json.Unmarshal(data, &answer); err != nil || answer.Figures.Month.Asked < 4 || answer.Figures.Month.Bytes_fetched < 50_000 {
		t.Errorf("after a restart: %s, %v", data, err)
	}
	admin = visit(t, port, nil)
	admin.page(http.StatusSeeOther, "/login", passwordForm("ada", registrytest.Password))
	if _, body := admin.page(http.StatusOK, "/activity?event=key_made", nil); !strings.Contains(body, "key ") {
		t.Error("after a restart the key's event is gone")
	}
}
