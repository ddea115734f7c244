package caddymodule_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// checkProtected wants the fields that keep a browser from running an answer, each once.
func checkProtected(t *testing.T, what string, response *http.Response) {
	t.Helper()
	for key, want := range map[string]string{
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'",
	} {
		if got := response.Header.Values(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s: status %d, %s: got %q, want %q once", what, response.StatusCode, key, got, want)
		}
	}
}

// No answer under /v2/ or /token, good or bad, lets a browser run what it holds, and the
// directives that sites have in front of the registry take nothing away.
func TestEveryAnswerIsProtected(t *testing.T) {
	const readers = `policy {
			allow anonymous read fetch
			allow anonymous create update delete on open/**
		}`
	for _, row := range []struct{ name, registry, options string }{
		{"alone", "oci_registry", ""},
		{"read_only", "oci_registry {\n\t\tread_only\n\t}", ""},
		{"behind header and encode", "oci_registry", `header {
		Content-Security-Policy "default-src 'self'"
		+X-Content-Type-Options nosniff
	}
	encode gzip`},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			registrytest.Load(t,
				strings.Replace(registrytest.Caddyfile(port, t.TempDir(), readers, row.options), "oci_registry",
					row.registry, 1))
			r := registrytest.At(t, port)
			manifest, digest := "v1", "sha256:"+strings.Repeat("0", 64)
			if row.name != "read_only" {
				digest = string(r.PushImage("open/app", "v1", bytes.Repeat([]byte("<script>"), 1000)))
			}
			upload := "/v2/open/app/blobs/uploads/"
			for _, ask := range []struct {
				method, path, body string
				fields             []string
			}{
				{"GET", "/v2", "", nil},
				{"GET", "/v2/", "", nil},
				{"GET", "/v2/?ns=elsewhere.example", "", nil},
				{"GET", "/v2/_catalog", "", nil},
				{"GET", "/v2/unknown", "", nil},
				{"GET", "/v2/%2e%2e/token", "", nil},
				{"GET", "/v2/UPPER/manifests/v1", "", nil},
				{"PATCH", "/v2/open/app/manifests/v1", "", nil},
				{"OPTIONS", "/v2/", "", nil},
				{"GET", "/v2/open/app/manifests/" + manifest, "", nil},
				{"HEAD", "/v2/open/app/manifests/" + manifest, "", nil},
				{"GET", "/v2/open/app/manifests/" + digest, "", []string{"If-None-Match", `"` + digest + `"`}},
				{"GET", "/v2/open/app/manifests/none", "", nil},
				{"GET", "/v2/open/app/blobs/" + digest, "", nil},
				{"GET", "/v2/open/app/blobs/" + digest, "", []string{"Range", "bytes=0-3"}},
				{"GET", "/v2/open/app/tags/list", "", nil},
				{"GET", "/v2/open/app/referrers/" + digest, "", nil},
				{"POST", upload, "", nil},
				{"POST", "/v2/closed/app/blobs/uploads/", "", nil},
				{"PUT", "/v2/closed/app/manifests/v1", "{}", []string{"Content-Type", ocispec.MediaTypeImageManifest}},
				{"PUT", "/v2/closed/app/manifests/v1", "{}", []string{"Expect", "100-continue"}},
				{"PUT", "/v2/open/app/manifests/v1", "<script>", []string{"Content-Type", "text/html"}},
				{"DELETE", "/v2/open/app/manifests/none", "", nil},
				{"GET", "/token", "", nil},
				{"HEAD", "/token", "", nil},
				{"POST", "/token", "grant_type=none", []string{"Content-Type", "application/x-www-form-urlencoded"}},
				{"GET", "/token?%zz", "", nil},
				{"DELETE", "/token", "", nil},
				{"GET", "/token", "", []string{"Authorization", "Bearer wrong"}},
			} {
				for _, encoding := range []string{"identity", "gzip"} {
					var body io.Reader
					if ask.body != "" {
						body = strings.NewReader(ask.body)
					}
					response, _ := r.Do(ask.method, ask.path, body, append(ask.fields, "Accept-Encoding", encoding)...)
					checkProtected(t, fmt.Sprintf("%s %s %q", ask.method, ask.path, ask.fields), response)
				}
			}
		})
	}
}
