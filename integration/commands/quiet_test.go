package commands

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// A start with the repository's Caddyfile logs nothing that an operator has to think about.
func TestAStartLogsNoWarning(t *testing.T) {
	s := server.Start(t, server.Options{Caddyfile: server.Caddyfile(t)})
	err := server.Eventually(patience, func() (bool, error) {
		n, err := s.Said("serving initial configuration") // the end of a start
		return n > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(s.Log()) {
		var entry struct{ Level, Logger, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not a line of a log: %q", line)
			continue
		}
		lines++
		// The disk is the machine's, and the test has moved the admin endpoint to a socket.
		if strings.Contains(entry.Msg, "file system") || entry.Logger == "admin" {
			continue
		}
		if entry.Level != "info" && entry.Level != "debug" {
			t.Errorf("%s: %s", entry.Level, line)
		}
	}
	if lines == 0 {
		t.Error("the log is empty")
	}
}
