package caddymodule_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

func TestServesAnImageUnderEveryName(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	for i, host := range []string{fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("localhost:%d", port),
		"made.up.example"} {
		path := fmt.Sprintf("/v2/team/app%d", i)
		content := registrytest.RandomBytes(1000 + i)
		r.Want(http.StatusOK, "GET", "/v2/_catalog", nil, "Host", host)
		response, _ := r.Want(http.StatusAccepted, "POST", path+"/blobs/uploads/", nil, "Host", host)
		location := response.Header.Get("Location")
		d := r.PushBlob(fmt.Sprintf("team/app%d", i), content)
		r.Want(http.StatusNoContent, "DELETE", location, nil, "Host", host)
		_, got := r.Want(http.StatusOK, "GET", path+"/blobs/"+d.String(), nil, "Host", host)
		if !bytes.Equal(got, content) {
			t.Errorf("%s: got other bytes than were pushed", host)
		}
	}
	d := r.PushImage("team/app", "v1", registrytest.RandomBytes(5000))
	response, _ := r.Want(http.StatusOK, "HEAD", "/v2/team/app/manifests/v1", nil)
	if got := response.Header.Get("Docker-Content-Digest"); got != d.String() {
		t.Errorf("got digest %s, want %s", got, d)
	}
	if got := response.Header.Get("Cache-Control"); strings.Contains(got, "private") {
		t.Errorf("got Cache-Control %s where everybody may read", got)
	}
}

func TestAnswersOnlyItsPaths(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "respond 418")
	for path, status := range map[string]int{
		"/v2":             http.StatusUnauthorized,
		"/v2/":            http.StatusUnauthorized,
		"/v2/no/endpoint": http.StatusNotFound,
		"/":               http.StatusTeapot,
		"/v2x":            http.StatusTeapot,
		"/v1/":            http.StatusTeapot,
	} {
		if response, _ := r.Do("GET", path, nil); response.StatusCode != status {
			t.Errorf("%s: got status %d, want %d", path, response.StatusCode, status)
		}
	}
}

// A directive that works only at the top of a site cannot be put beside other services.
func TestWorksWithinOtherDirectives(t *testing.T) {
	for name, within := range map[string]string{
		"handle":         "handle {\noci_registry\n}",
		"route":          "route {\noci_registry\n}",
		"handle by host": "@us host made.up.example\nhandle @us {\noci_registry\n}",
		"with a matcher": "oci_registry /v2/*",
	} {
		t.Run(name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			text := fmt.Sprintf("{\nadmin off\npersist_config off\noci {\nstorage file %s\n}\n}\nhttp://:%d {\n"+
				"bind 127.0.0.1\n%s\n}", t.TempDir(), port, within)
			registrytest.Load(t, text)
			response, _ := registrytest.At(t, port).Want(http.StatusUnauthorized, "GET", "/v2/", nil,
				"Host", "made.up.example")
			if got := response.Header.Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
				t.Errorf("got version %q: this was not the registry", got)
			}
		})
	}
}

func TestWithoutAPolicyNobodyWrites(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	d := r.PushImage("team/app", "v1", registrytest.RandomBytes(100))

	registrytest.Serve(t, port, storage, "", "")
	r.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	for _, c := range []struct{ method, path string }{
		{"POST", "/v2/team/app/blobs/uploads/"},
		{"PUT", "/v2/team/app/manifests/v2"},
		{"DELETE", "/v2/team/app/manifests/v1"},
		{"DELETE", "/v2/team/app/manifests/" + d.String()},
	} {
		response, body := r.Want(http.StatusUnauthorized, c.method, c.path, strings.NewReader("{}"),
			"Content-Type", "application/vnd.oci.image.index.v1+json")
		if !bytes.Contains(body, []byte("UNAUTHORIZED")) {
			t.Errorf("%s %s: got %s, want the code UNAUTHORIZED", c.method, c.path, body)
		}
		if response.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s %s: got no challenge", c.method, c.path)
		}
	}
}

func TestNamesBelongToSomebody(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll+
		"\nprivate team/**\nurl https://registry.example.com\nhostnames indri:5050", "")
	r.PushImage("team/app", "v1", registrytest.RandomBytes(100))
	for _, ns := range []string{"registry.example.com", "Registry.Example.com:443", "indri:5050",
		fmt.Sprintf("127.0.0.1:%d", port)} {
		r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1?ns="+ns, nil)
	}
	_, body := r.Want(http.StatusNotFound, "GET", "/v2/team/app/manifests/v1?ns=docker.io", nil)
	if !bytes.Contains(body, []byte("NAME_UNKNOWN")) {
		t.Errorf("got %s, want NAME_UNKNOWN", body)
	}
	r.Want(http.StatusNotFound, "GET", "/v2/library/nginx/manifests/v1", nil)
	_, body = r.Want(http.StatusForbidden, "POST", "/v2/library/nginx/blobs/uploads/", nil)
	if !bytes.Contains(body, []byte("team/**")) {
		t.Errorf("got %s, want it to name what can be pushed to", body)
	}
}

func TestMetricsCountAndSurviveAReload(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	const requests = `registry_requests_total{action="blob",result="ok"}`
	content := registrytest.RandomBytes(10_000)
	before, pushed, pulled := r.Metric(requests), r.Metric("registry_pushed_bytes_total"),
		r.Metric(`registry_pulled_bytes_total{source="private"}`)
	d := r.PushBlob("team/app", content)
	r.Want(http.StatusOK, "GET", "/v2/team/app/blobs/"+d.String(), nil)

	registrytest.Serve(t, port, storage, registrytest.AllowAll+"\ngc {\ninterval 1h\n}", "")
	if got := r.Metric(requests) - before; got != 1 {
		t.Errorf("%s rose by %v, want 1", requests, got)
	}
	if got := r.Metric("registry_pushed_bytes_total") - pushed; got != 10_000 {
		t.Errorf("pushed bytes rose by %v, want 10000", got)
	}
	if got := r.Metric(`registry_pulled_bytes_total{source="private"}`) - pulled; got < 10_000 {
		t.Errorf("pulled bytes rose by %v, want 10000 at least", got)
	}
	r.PushImage("team/app", "v1", content)
	if got := r.Metric(`registry_storage_syncs_total{kind="file"}`); got < 1 {
		t.Errorf("got %v syncs of files after a push, want some", got)
	}
}

func TestTheAccessLogSaysWhatWasAsked(t *testing.T) {
	port := registrytest.FreePort(t)
	log := filepath.Join(t.TempDir(), "access.log")
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "log {\noutput file "+log+"\n}")
	r.PushImage("team/app", "v1", registrytest.RandomBytes(10))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	text := registrytest.ReadFile(t, log)
	for _, want := range []string{`"action":"put_manifest"`, `"repository":"team/app"`, `"source":"private"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the access log lacks %s:\n%s", want, text)
		}
	}
}

// slowly reads n bytes of a body and leaves the rest.
func slowly(t *testing.T, body io.Reader, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := io.ReadFull(body, data); err != nil {
		t.Fatal(err)
	}
	return data
}
