package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Refusals of those who have not said who they are have a bounded number of records,
// whatever they are refused for.
func TestRefusalsOfStrangersAreBounded(t *testing.T) {
	for _, row := range []struct {
		name, registry, repo string
		status               int
	}{
		{"a name that nobody claims", "oci_registry", "nobody/claims/this", http.StatusForbidden},
		{"a site that takes no writes", "oci_registry {\n\t\tread_only\n\t}", "team/app", http.StatusForbidden},
		{"no login", "oci_registry", "team/app", http.StatusUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			port, log := registrytest.FreePort(t), filepath.Join(t.TempDir(), "audit.log")
			text := strings.Replace(registrytest.Caddyfile(port, t.TempDir(), "private team/**", ""), "oci_registry",
				row.registry, 1)
			text = strings.Replace(text, "admin off", "admin off\n\tlog audit {\n\t\toutput file "+log+
				"\n\t\tinclude oci.audit\n\t}", 1)
			registrytest.Load(t, text)
			r := registrytest.At(t, port)
			const flood = 2 * observe.StrangerRecords
			for range flood {
				r.Want(row.status, "PUT", "/v2/"+row.repo+"/manifests/v1", nil)
			}
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			// A minute may have ended meanwhile: then there is one more window.
			if got := strings.Count(string(data), observe.EventDenied); got < observe.StrangerRecords || got >= flood {
				t.Errorf("got %d records of %d refusals, want about %d", got, flood, observe.StrangerRecords)
			}
		})
	}
}

// Internal names of an upstream, and paths of our files, are only for the log.
func TestAnswersNameNoUpstreamHost(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "mirror mirrored.test {\nupstream "+up.URL+"\n"+
		registrytest.Unhurried+"\n}", "")
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, path := range []string{"manifests/latest", "manifests/" + digest, "blobs/" + digest, "tags/list",
		"referrers/" + digest} {
		response, body := r.Do("GET", "/v2/mirrored.test/library/none/"+path, nil)
		text := string(body) + fmt.Sprint(response.Header)
		for _, secret := range []string{strings.TrimPrefix(up.URL, "http://"), "mirror/", "_tags", " at "} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: status %d: %q is in %s", path, response.StatusCode, secret, text)
			}
		}
	}
}

// A client with a nearly right address does not get an empty 200.
func TestNearlyTheRegistryIsNotFound(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	for path, status := range map[string]int{
		"//v2/": 404, "//v2": 404, "///v2/a/manifests/v1": 404, "/v1/_ping": 404,
		"/v1/other": 404, "/v2x": 404, "//": 404, // the site has nothing else
	} {
		response, body := r.Do("GET", path, nil)
		if response.StatusCode != status || !strings.Contains(string(body), "/v2/") {
			t.Errorf("%s: got %d and %q, want %d", path, response.StatusCode, body, status)
		}
	}
}
