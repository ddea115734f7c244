package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// linesLimit bounds six commands on a machine that may be busy.
const linesLimit = 2 * time.Minute

// The lines of docs/do/keys.md for keys as JSON are run as they are written, with this server
// instead of the example.
func TestTheLinesForKeys(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(page), "\n## Keys as JSON\n")
	_, lines, _ = strings.Cut(lines, "```sh\n")
	lines, _, _ = strings.Cut(lines, "```")
	if strings.Count(lines, "curl ") < 4 {
		t.Fatalf("the page has no lines for keys: %q", lines)
	}

	// The hash is made by the command that docs/do/sign-in.md names.
	const password = "correct horse battery staple"
	hash, err := exec.CommandContext(t.Context(), server.Binary(t), "hash-password", "--algorithm", "bcrypt", "--bcrypt-cost", "10", "--plaintext", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		local_user erich %s admins
		policy {
			allow anonymous read fetch
			allow group admins *
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, strings.TrimSpace(string(hash)))})

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), linesLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", strings.ReplaceAll(lines, "https://registry.example.org", s.URL)+"\necho \"$ID $KEY\"")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	words := strings.Fields(string(out))
	id, key := words[len(words)-2], words[len(words)-1]
	if len(id) != 12 || !strings.HasPrefix(key, "cregk_") {
		t.Fatalf("the lines made no key: %s", out)
	}
	listed, err := s.Command(t.Context(), t, "registry", "key", "list", "--storage", s.Data).CombinedOutput()
	if err != nil || !strings.Contains(string(listed), id) || strings.Count(string(listed), "revoked") != 1 {
		t.Errorf("got %s, %v; want one key, which has ended itself", listed, err)
	}
}
