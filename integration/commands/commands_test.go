// Package commands runs `registry gc`, `purge` and `doctor` of the built binary: with a
// server that has the storage open, which they reach by its socket, also when Caddy's
// admin endpoint is off; and without one, when they open the storage themselves.
package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

const patience = time.Minute

// caddyfile configures a registry with one mirror and a very short grace.
func caddyfile(up *upstreamtest.Upstream, admin string) string {
	return fmt.Sprintf(`{
	%s
	oci {
		storage file {$REGISTRY_DATA}
		min_free 1
		gc {
			grace 1ms
		}
		mirror mirrored.test {
			upstream %s
			ttl 1h
		}
		policy {
			allow anonymous *
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, admin, up.URL)
}

// run runs a command on the registry's configuration, and returns what it printed and
// its exit status.
func run(t *testing.T, s *server.Server, config string, args ...string) (out, said string, status int) {
	t.Helper()
	cmd := s.Command(t.Context(), t, append(append([]string{"registry"}, args...), "--config", config)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		status = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(data), stderr.String(), status
}

// request sends one, and returns the status and the body.
func request(t *testing.T, s *server.Server, method, path, body string) (int, string) {
	t.Helper()
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func TestCommandsWithAndWithoutAServer(t *testing.T) {
	const index = "application/vnd.oci.image.index.v1+json"
	for _, row := range []struct {
		name, admin string
		running     bool
	}{
		{"a server runs", "", true},
		{"a server runs with admin off", "admin off", true},
		{"no server runs", "admin off", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			up := upstreamtest.New(t, upstreamtest.Config{})
			for _, tag := range []string{"v1", "v2"} {
				up.Manifest("team/app", index, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"tag":%q}}`, index, tag), tag)
			}
			text := caddyfile(up, row.admin)
			s := server.Start(t, server.Options{Caddyfile: text, AdminOff: row.admin != ""})
			config := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			// The first collection comes after the grace, which is very short, and would remove
			// the blob. The next one is a day away.
			err := server.Eventually(patience, func() (bool, error) {
				n, err := s.Said(`"msg":"collected"`)
				return n > 0, err
			})
			if err != nil {
				t.Fatalf("first collection: %v", err)
			}
			const blob = "content that no manifest names"
			if status, body := request(t, s, "POST", "/v2/team/app/blobs/uploads/?digest="+string(digest.FromString(blob)), blob); status != http.StatusCreated {
				t.Fatalf("push: %d %s", status, body)
			}
			for _, tag := range []string{"v1", "v2"} {
				if status, body := request(t, s, "GET", "/v2/mirrored.test/team/app/manifests/"+tag, ""); status != http.StatusOK {
					t.Fatalf("pull: %d %s", status, body)
				}
			}
			if !row.running {
				if err := s.Stop(patience); err != nil {
					t.Fatal(err)
				}
			}
			want := func(status int, text string, args ...string) {
				t.Helper()
				out, said, got := run(t, s, config, args...)
				if got != status || !strings.Contains(out+said, text) {
					t.Errorf("%q: got status %d, %q and %q; want %d and %q", args, got, out, said, status, text)
				}
			}
			if row.running {
				// The blob's grace began with its upload.
				var last string
				err := server.Eventually(patience, func() (bool, error) {
					out, said, status := run(t, s, config, "gc", "--dry-run")
					if last = out; status != 0 {
						return false, fmt.Errorf("gc: %d %s", status, said)
					}
					return strings.Contains(out, "1 blobs"), nil
				})
				if err != nil {
					t.Errorf("%v; gc would remove %q", err, last)
				}
			}
			want(0, "private: removed", "gc")
			out, _, _ := run(t, s, config, "gc", "--json")
			var collected struct {
				Private struct{ Blobs int }
			}
			if err := json.Unmarshal([]byte(out), &collected); err != nil || collected.Private.Blobs != 0 {
				t.Errorf("gc again: %q, %v; want nothing left", out, err)
			}

			want(0, "mirrored.test/team/app: forgot 1 tags and 0 manifests", "purge", "mirrored.test/team/app:v1")
			want(1, "nothing is cached for mirrored.test/team/app:v1", "purge", "mirrored.test/team/app:v1")
			want(1, "does not belong to a mirror; the names of mirrors begin with mirrored.test/", "purge", "other.test/a/b")
			want(2, "purge takes one name", "purge")
			want(0, "mirrored.test/team/app: forgot 1 tags and 2 manifests", "purge", "mirrored.test/team/app")
			if row.running {
				up.Forget()
				if status, body := request(t, s, "GET", "/v2/mirrored.test/team/app/manifests/v2", ""); status != http.StatusOK || len(up.Requests()) == 0 {
					t.Errorf("after the purge: %d %s; the upstream saw %q", status, body, up.Requests())
				}
			}

			state := "no process uses it"
			if row.running {
				state = fmt.Sprintf("is in use by process %d, which answers", s.PID())
			}
			want(0, state, "doctor")
			want(0, "upstream of mirrored.test: "+up.URL+" answers", "doctor")
			want(0, "cache: manifests and tags are in memory", "doctor")
			defer up.Fault(upstreamtest.Fault{Status: http.StatusServiceUnavailable}).Lift()
			want(1, "fail  upstream of mirrored.test", "doctor")
			want(2, "doctor takes no argument", "doctor", "now")
		})
	}
}
