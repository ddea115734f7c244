package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// parts returns the states of a detailed report, or nil for the word of a stranger.
func parts(t *testing.T, body []byte) map[string]string {
	t.Helper()
	var report health.Report
	if json.Unmarshal(body, &report) != nil {
		return nil
	}
	states := map[string]string{}
	for _, part := range report.Parts {
		states[part.Name] = part.State
	}
	return states
}

func TestHealthIsDetailedOnLoopbackAndForAdministrators(t *testing.T) {
	port := registrytest.FreePort(t)
	config := registrytest.Caddyfile(port, t.TempDir(), `mirror example.com
		policy {
			allow anonymous read fetch
			allow group admins *
			allow group artifact-workloads read create
		}`, "")
	registrytest.Load(t, strings.Replace(config, "oci_registry", "oci_registry {\n\t\tinsecure_credentials\n\t}", 1))
	r := registrytest.At(t, port)
	ordinary, _ := registrytest.Key(t)
	admin, _, err := registrytest.Callers(t).Identity.Keys().Create(t.Context(), identity.NewKey{
		User: "erich", Service: true, Groups: []string{"admins"}, By: "command",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", admin))
	token := registrytest.Token(t, body)

	for _, row := range []struct {
		name     string
		fields   []string
		detailed bool
	}{
		{"on loopback", nil, true},
		{"on loopback, as localhost", []string{"Host", "localhost"}, true},
		{"on loopback, by IPv6", []string{"Host", "[::1]:5050"}, true},
		{"through a proxy that says nothing but the name", []string{"Host", "registry.example.org"}, false},
		{"by a name that leads here", []string{"Host", "localhost.example.org:5050"}, false},
		{"by another address of this machine", []string{"Host", "192.0.2.1"}, false},
		// Behind a proxy on this machine the connection is loopback, and the caller is not.
		{"through a proxy", []string{"X-Forwarded-For", "192.0.2.1"}, false},
		{"through a proxy, with a key that may not administer",
			[]string{"Via", "1.1 proxy", "Authorization", registrytest.Basic("x", ordinary)}, false},
		{"through a proxy, with a wrong key",
			[]string{"Via", "1.1 proxy", "Authorization", registrytest.Basic("x", admin[:len(admin)-1])}, false},
		{"through a proxy, with a malformed field", []string{"Via", "1.1 proxy", "Authorization", "Basic !"}, false},
		{"through a proxy, with an administrator's key",
			[]string{"Via", "1.1 proxy", "Authorization", registrytest.Basic("x", admin)}, true},
		{"through a proxy, with an administrator's token",
			[]string{"Via", "1.1 proxy", "Authorization", "Bearer " + token}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, body := registrytest.At(t, port).Want(http.StatusOK, "GET", "/readyz", nil, row.fields...)
			states := parts(t, body)
			if !row.detailed {
				if string(body) != "ok\n" {
					t.Errorf("a stranger is answered %s", body)
				}
				return
			}
			for name, want := range map[string]string{"storage": health.OK, "write": health.Unknown,
				"mirror example.com": health.Unknown} {
				if states[name] != want {
					t.Errorf("%s is %q, want %q: %s", name, states[name], want, body)
				}
			}
		})
	}
}

func TestHealthOff(t *testing.T) {
	port := registrytest.FreePort(t)
	for _, row := range []struct {
		name, option string
		status       int
	}{
		{"answered here", "oci_registry", http.StatusOK},
		{"left to the next handler", "oci_registry {\n\t\thealth off\n\t}", http.StatusTeapot},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := strings.Replace(registrytest.Caddyfile(port, t.TempDir(), "", "respond 418"), "oci_registry",
				row.option, 1)
			registrytest.Load(t, config)
			for _, path := range []string{"/livez", "/readyz", "/healthz"} {
				registrytest.At(t, port).Want(row.status, "GET", path, nil)
			}
		})
	}
}

func TestHealthOptionIsChecked(t *testing.T) {
	for options, want := range map[string]string{
		"health on":               `health: "on" must be off`,
		"health off\nhealth off":  "duplicate option health",
		"health":                  "wrong argument count",
		"health off please":       "wrong argument count",
		"health off {\nwhat\n}\n": "has no block",
	} {
		text := ":80 {\noci_registry {\n" + options + "\n}\n}\n"
		_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", options, err, want)
		}
	}
}

func TestHealthSeesThatTheStorageIsGone(t *testing.T) {
	for _, tree := range []string{"private", "mirrors"} {
		t.Run(tree, func(t *testing.T) {
			storage, port := t.TempDir(), registrytest.FreePort(t)
			r := registrytest.Serve(t, port, storage, "", "")
			_, body := r.Want(http.StatusOK, "GET", "/readyz?for=write", nil)
			for _, name := range []string{"storage", "write", "index", "index of mirrors"} {
				if got := parts(t, body)[name]; got != health.OK {
					t.Errorf("%s is %q: %s", name, got, body)
				}
			}
			if err := os.RemoveAll(filepath.Join(storage, tree)); err != nil {
				t.Fatal(err)
			}
			r.Eventually("reads fail", func() bool {
				response, _ := r.Do("GET", "/readyz", nil)
				return response.StatusCode == http.StatusServiceUnavailable
			})
			r.Want(http.StatusOK, "GET", "/livez", nil)
			_, body = r.Want(http.StatusServiceUnavailable, "GET", "/healthz", nil)
			if got := parts(t, body)["storage"]; got != health.Failed {
				t.Errorf("storage is %q: %s", got, body)
			}
		})
	}
}
