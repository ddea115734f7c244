// Package live tests the built binary as an operator uses it: every Host, a fresh
// clone, a reload and a SIGTERM with transfers in flight, a second server on the
// same directory, memory, and how the kernel is asked to send a file.
package live

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// If a site does not answer a name, Caddy answers an empty 200 for it, which a client takes for
// a registry; so every name must reach the registry, also for writes.
func TestEveryHostIsAnswered(t *testing.T) {
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	defer c.Close()
	for i, host := range []string{"127.0.0.1", "localhost", "made-up.example"} {
		t.Run(host, func(t *testing.T) {
			named := client.New(s.URL).As(fmt.Sprintf("%s:%d", host, s.Port))
			defer named.Close()
			response, err := named.Request(t.Context(), http.MethodGet, "/v2/_catalog", nil, nil, http.StatusOK)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || len(body) == 0 {
				t.Errorf("GET /v2/_catalog has body %q, error %v; want the registry's own", body, err)
			}
			image := client.NewImage(uint64(i), 2, 4<<10)
			repo := fmt.Sprintf("hosts/n%d", i)
			if err := named.PushImage(t.Context(), repo, "v1", image); err != nil {
				t.Fatal(err)
			}
			// Read by the address: pushes by any name are in the same registry.
			if got, err := c.PullImage(t.Context(), repo, "v1"); err != nil || got != image.Digest() {
				t.Errorf("pulled %s, error %v; want %s", got, err, image.Digest())
			}
		})
	}
}

func TestMetricsAreServed(t *testing.T) {
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	defer c.Close()
	if err := c.PushImage(t.Context(), "team/app", "v1", client.NewImage(1, 1, 1<<10)); err != nil {
		t.Fatal(err)
	}
	response, err := c.Request(t.Context(), http.MethodGet, "/metrics", nil, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\nregistry_") {
		t.Error("no metric of the registry's own among", strings.Count(string(text), "\n"), "lines")
	}
	if strings.Contains(string(text), "team/app") {
		t.Error("a repository's name is a label: their number has no bound")
	}
}

func TestFreshCloneValidatesAndCreatesNothing(t *testing.T) {
	clone, home := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(clone, "Caddyfile"), []byte(server.Caddyfile(t)), 0o444); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), server.Binary(t), "validate")
	cmd.Dir = clone
	cmd.Env = []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("validate: %v\n%s", err, out)
	}
	for dir, want := range map[string]int{clone: 1, home: 0} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != want {
			t.Errorf("%s has %v after validate, want %d entries", dir, entries, want)
		}
	}
}

func TestSecondServerOnTheSameDirectoryIsRefused(t *testing.T) {
	first := server.Start(t, server.Options{})
	second := server.Launch(t, server.Options{Data: first.Data})
	if err := second.Wait(startLimit); err == nil {
		t.Error("second server ended without an error")
	}
	if want := fmt.Sprint(first.PID()); !strings.Contains(second.Log(), want) {
		t.Errorf("the refusal does not name process %s:\n%s", want, second.Log())
	}
	c := client.New(first.URL)
	defer c.Close()
	if err := c.PushImage(t.Context(), "team/app", "v1", client.NewImage(2, 1, 1<<10)); err != nil {
		t.Errorf("first server after the second was refused: %v", err)
	}
}

func TestCollectorRunsThroughTheControlSocket(t *testing.T) {
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	defer c.Close()
	image := client.NewImage(3, 2, 1<<10)
	if err := c.PushImage(t.Context(), "team/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--dry-run"}, {}} {
		if out, err := collect(t.Context(), t, s, args...); err != nil {
			t.Fatalf("registry gc %v: %v\n%s", args, err, out)
		}
	}
	if got, err := c.PullImage(t.Context(), "team/app", "v1"); err != nil || got != image.Digest() {
		t.Errorf("after gc: pulled %s, error %v; want %s", got, err, image.Digest())
	}
}

// collect runs the command `registry gc` against a server that may be running.
func collect(ctx context.Context, t testing.TB, s *server.Server, args ...string) (string, error) {
	out, err := s.Command(ctx, t, append([]string{"registry", "gc", "--storage", s.Data}, args...)...).CombinedOutput()
	return string(out), err
}
