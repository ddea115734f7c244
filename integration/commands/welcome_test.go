package commands

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// After the start the log has the registry's address, and a command that makes an API key,
// which works as it is logged. A reload does not log them again.
func TestFirstMinutes(t *testing.T) {
	s := server.Start(t, server.Options{Caddyfile: server.Caddyfile(t)})
	said := func(text string) int {
		t.Helper()
		n, err := s.Said(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	lines := []string{`"registry is served","urls":"` + s.URL + `"`, `"make an API key","command":"`, `"nobody can sign in on the pages"`}
	err := server.Eventually(patience, func() (bool, error) { return said(lines[2]) > 0, nil })
	if err != nil {
		t.Error(err)
	}
	command := regexp.MustCompile(`"command":"([^"]*)"`).FindStringSubmatch(s.Log())
	if command == nil {
		t.Fatal("the log has no command")
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command[1]).Output()
	if err != nil || !strings.HasPrefix(string(out), "cregk_") {
		t.Errorf("%s: got %q, %v; want a key", command[1], out, err)
	}
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	for _, text := range lines {
		if n := said(text); n != 1 {
			t.Errorf("%s: logged %d times, want once", text, n)
		}
	}
}
