// Package health checks the health endpoints of the built binary while its disk, its Redis or
// an upstream fails.
package health

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/fusefs"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

// ask returns the status of an answer and its part called name.
func ask(t *testing.T, s *server.Server, target, name string) (status int, part string) {
	t.Helper()
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Get(s.URL + target)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Parts []struct{ Name, State, Detail string }
	}
	if json.Unmarshal(body, &report) != nil {
		return response.StatusCode, string(body)
	}
	for _, p := range report.Parts {
		if p.Name == name {
			return response.StatusCode, p.State + ": " + p.Detail
		}
	}
	return response.StatusCode, ""
}

// becomes waits until an answer has a status, and returns the part of it.
func becomes(t *testing.T, s *server.Server, target, name string, want int) string {
	t.Helper()
	var status int
	var part string
	err := server.Eventually(patience, func() (bool, error) {
		status, part = ask(t, s, target, name)
		return status == want, nil
	})
	if err != nil {
		t.Fatalf("%s is %d, want %d: %s", target, status, want, part)
	}
	return part
}

func TestADiskThatFails(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		fail func(disk *fusefs.FS, data string) (mend func())
		// reads is the status of /readyz; stored content can be pulled if it is 200.
		reads int
		// part is the name of the failing part.
		part, says string
		// mended: it is ready again as soon as the disk is. A write is tried again after
		// a minute only.
		mended bool
	}{
		{"is full", func(disk *fusefs.FS, _ string) func() {
			disk.SetLimit(disk.Used() + 1000)
			return func() { disk.SetLimit(0) }
		}, http.StatusOK, "write", "no space left", true},
		{"becomes read-only", func(disk *fusefs.FS, _ string) func() {
			disk.SetReadOnly(true)
			return func() { disk.SetReadOnly(false) }
		}, http.StatusOK, "write", "read-only file system", false},
		{"cannot sync", func(disk *fusefs.FS, _ string) func() {
			disk.OnSync(func(string) fusefs.Outcome { return fusefs.Fail })
			return func() { disk.OnSync(nil) }
		}, http.StatusOK, "write", "sync", false},
		{"hangs", func(disk *fusefs.FS, _ string) func() {
			end := make(chan struct{})
			hangs := make(chan struct{})
			disk.OnSync(func(string) fusefs.Outcome { // and with it everything else on that disk
				select {
				case <-hangs:
				default:
					close(hangs)
				}
				<-end
				return fusefs.Durable
			})
			return func() { close(end) }
		}, http.StatusServiceUnavailable, "storage", "timed out: the disk has not answered", true},
		{"is removed", func(_ *fusefs.FS, data string) func() {
			// The server may be making a file there meanwhile.
			if err := server.Eventually(patience, func() (bool, error) { return os.RemoveAll(data) == nil, nil }); err != nil {
				t.Error(err)
			}
			return func() {}
		}, http.StatusServiceUnavailable, "storage", "does not exist", false},
		{"reports errors for everything", func(disk *fusefs.FS, _ string) func() {
			disk.Kill()
			return func() {}
		}, http.StatusServiceUnavailable, "storage", "input/output error", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // they wait for the bounds of the answers
			disk := fusefs.New(fusefs.Options{})
			data := filepath.Join(fusefs.Mount(t, disk), "data")
			s := server.Start(t, server.Options{Data: data, Caddyfile: mirror.Options{OCI: "min_free 1"}.Caddyfile()})
			registry := client.New(s.URL)
			defer registry.Close()
			image := client.NewImage(1, 2, 10_000)
			if err := registry.PushImage(t.Context(), "team/app", "v1", image); err != nil {
				t.Fatal(err)
			}
			if status, said := ask(t, s, "/readyz", "write"); status != http.StatusOK || !strings.HasPrefix(said, "unknown") {
				t.Fatalf("before: %d, write is %s", status, said)
			}

			mend := row.fail(disk, data)
			said := becomes(t, s, "/readyz?for=write", row.part, http.StatusServiceUnavailable)
			if row.reads != http.StatusOK && !strings.Contains(said, row.says) {
				said = becomes(t, s, "/readyz", row.part, row.reads)
			}
			if !strings.Contains(said, row.says) {
				t.Errorf("%s is %q, want %q", row.part, said, row.says)
			}
			if status, _ := ask(t, s, "/readyz", ""); status != row.reads {
				t.Errorf("/readyz is %d, want %d", status, row.reads)
			}
			if status, said := ask(t, s, "/livez", ""); status != http.StatusOK || said != "ok\n" {
				t.Errorf("/livez is %d %q", status, said)
			}
			if row.reads == http.StatusOK {
				if _, err := registry.PullImage(t.Context(), "team/app", "v1"); err != nil {
					t.Errorf("stored content cannot be pulled: %v", err)
				}
			}
			mend()
			if row.mended {
				becomes(t, s, "/readyz?for=write", "write", http.StatusOK)
			}
		})
	}
}

// A registry stays ready if an upstream or Redis fails: stored content is served.
func TestOthersThatFail(t *testing.T) {
	t.Parallel()
	hub := upstreamtest.New(t, upstreamtest.Config{})
	port := server.FreePort(t)
	redis := exec.Command(server.Tool(t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { redis.Process.Kill(); redis.Wait() }
	t.Cleanup(stop)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := server.Eventually(patience, func() (bool, error) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	s := mirror.Start(t, mirror.Options{
		OCI: fmt.Sprintf("private team/**\ncache redis {\naddress %s\n}\n", address) + mirror.Block("docker.io", hub, "ttl 1ms", "breaker 1h"),
	})
	image := client.NewImage(2, 1, 1000)
	for _, blob := range image.Blobs {
		hub.Blob("library/app", blob)
	}
	hub.Manifest("library/app", ocispec.MediaTypeImageManifest, image.Manifest, "v1")
	registry := client.New(s.URL)
	defer registry.Close()
	pull := func() {
		t.Helper()
		if _, err := registry.PullImage(t.Context(), "docker.io/library/app", "v1"); err != nil {
			t.Error(err)
		}
	}
	// is waits until a part has a state, while clients pull unless they have not begun.
	is := func(name, want string, pulls bool) {
		t.Helper()
		var said string
		err := server.Eventually(patience, func() (bool, error) {
			if pulls {
				pull()
			}
			status, now := ask(t, s, "/readyz?for=write", name)
			said = now
			if status != http.StatusOK {
				return false, fmt.Errorf("/readyz is %d", status)
			}
			return strings.HasPrefix(said, want), nil
		})
		if err != nil {
			t.Errorf("%s is %q, want %q: %v", name, said, want, err)
		}
	}
	is("mirror docker.io", "unknown", false)
	is("redis", "unknown", false)
	is("mirror docker.io", "ok", true)
	is("redis", "ok", true)
	stop()
	is("redis", "failed", true)
	hub.Fault(upstreamtest.Fault{Host: "registry", Status: http.StatusBadGateway})
	is("mirror docker.io", "failed", true)
}
