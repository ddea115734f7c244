package commands

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// The repository's own Caddyfile is all that `registry demo` needs beside the server.
func TestDemo(t *testing.T) {
	text := server.Caddyfile(t)
	s := server.Start(t, server.Options{Caddyfile: text})
	write := func(text string) string {
		t.Helper()
		config := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config
	}
	replaced := func(old, replacement string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("the repository's Caddyfile has no %q", old)
		}
		return write(strings.ReplaceAll(text, old, replacement))
	}
	config := write(text)

	ref := fmt.Sprintf("127.0.0.1:%d/demo/hello:v1", s.Port)
	out, said, status := run(t, s, config, "demo")
	if status != 0 || said != "" || !strings.HasPrefix(out, "pushed "+ref+"\ndigest sha256:") {
		t.Fatalf("got status %d, %q and %q; want it pushed", status, out, said)
	}
	pushed := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(out)

	// The line for crane is run as it was printed.
	crane := regexp.MustCompile(`\n  crane (.*)\n`).FindStringSubmatch(out)
	if crane == nil {
		t.Fatalf("no command for crane in %q", out)
	}
	dir := t.TempDir()
	pull := exec.CommandContext(t.Context(), server.Tool(t, "crane"), strings.Fields(crane[1])...)
	pull.Dir = dir
	if said, err := pull.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", pull, err, said)
	}
	if info, err := os.Stat(filepath.Join(dir, "hello.tar")); err != nil || info.Size() == 0 {
		t.Errorf("after crane pull: %v", err)
	}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		cmd := exec.CommandContext(t.Context(), server.Tool(t, "crane"), "export", "--insecure", "--platform", platform, ref, "-")
		if files, err := cmd.Output(); err != nil || !strings.Contains(string(files), "made by caddy-registry registry demo") {
			t.Errorf("%s: %v; want the text in %q", platform, err, files)
		}
	}

	// A second run pushes nothing, and no key is left.
	out, said, status = run(t, s, config, "demo", "--to", s.Host)
	if status != 0 || said != "" || !strings.HasPrefix(out, ref+" is there already; nothing was pushed\ndigest "+pushed+"\n") {
		t.Errorf("again: got status %d, %q and %q", status, out, said)
	}
	keys, _, _ := run(t, s, config, "key", "list", "--user", "demo")
	if strings.Count(keys, "revoked ") != 2 || strings.Contains(keys, "until ") {
		t.Errorf("keys after two runs: got %s, want two that are revoked", keys)
	}

	for _, row := range []struct {
		name, config, want string
		args               []string
		status             int
	}{
		{"nobody may create", replaced("			allow group artifact-workloads read fetch create\n			allow group admins *\n", ""),
			"error: no rule of the policy lets a service account create and read demo/hello; add one to the block policy", nil, 1},
		{"the server listens elsewhere", replaced("{$REGISTRY_PORT:5050}", fmt.Sprint(server.FreePort(t))), "error: no process listens on 127.0.0.1:", nil, 1},
		{"a site that takes nothing", replaced("oci_registry\n}", "oci_registry {\n\t\tread_only\n\t}\n}"), "error: no site of the configuration takes credentials", nil, 1},
		{"an argument", config, `error: demo takes no argument, but there is "now"`, []string{"now"}, 2},
		{"not an address", config, "error: --to ", []string{"--to", "http://localhost"}, 1},
	} {
		if out, said, status := run(t, s, row.config, append([]string{"demo"}, row.args...)...); status != row.status || out != "" || !strings.HasPrefix(said, row.want) {
			t.Errorf("%s: got status %d, %q and %q; want %d and %q", row.name, status, out, said, row.status, row.want)
		}
	}

	if err := s.Stop(patience); err != nil {
		t.Fatal(err)
	}
	if out, said, status := run(t, s, config, "demo"); status != 1 || out != "" || !strings.HasPrefix(said, "error: no registry runs on the storage "+s.Data+"; start it first") {
		t.Errorf("without a server: got status %d, %q and %q", status, out, said)
	}
}
