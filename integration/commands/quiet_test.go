package commands

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// A start with the repository's Caddyfile logs nothing that an operator has to think about.
func TestAStartLogsNoWarning(t *testing.T) {
	s := server.Start(t, server.Options{})
	err := server.Eventually(patience, func() (bool, error) {
		n, err := s.Said(`"make an API key"`) // the last line of a start
		return n > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(s.Log()) {
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not a line of a log: %q", line)
			continue
		}
		lines++
		if strings.Contains(entry.Msg, "file system") {
			continue // the machine of the test has a disk that the operator should know about
		}
		if entry.Level != "info" && entry.Level != "debug" {
			t.Errorf("%s: %s", entry.Level, line)
		}
	}
	if lines == 0 {
		t.Error("the log is empty")
	}
}
