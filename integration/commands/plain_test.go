package commands

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// Commands report errors in plain sentences, although the standard error is a pipe here,
// and as JSON only with --json. The exit status is the same.
func TestErrorsOfCommandsArePlainSentences(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	s := server.Start(t, server.Options{Caddyfile: strings.Replace(caddyfile(up, "admin off"), "allow anonymous *", "allow anonymous read fetch\n\t\t\tallow group builders create read", 1), AdminOff: true})
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(strings.Replace(caddyfile(up, "admin off"), "allow anonymous *", "allow anonymous read fetch\n\t\t\tallow group builders create read", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, id := s.Key(t, "ci", "builders")
	for _, row := range []struct {
		args      []string
		status    int
		out, said string // said: the whole standard error, or its beginning
		more      bool
	}{
		{[]string{"key", "revoke", "0123456789ab"}, 1, "", "error: key 0123456789ab: no such key\n", true},
		{[]string{"key", "list", "surplus"}, 2, "", "error: usage: ", true},
		{[]string{"nonsense"}, 2, "", `error: unknown command "nonsense"`, true},
		{[]string{"gc", "--nonsense"}, 2, "", "error: unknown flag: --nonsense\n", false},
		{[]string{"purge", "elsewhere/app"}, 1, "", "error: ", true},
		{[]string{"policy", "explain", "--key", id, "create", "team/app"}, 0, "key " + id + " (key of ", "", false},
		{[]string{"policy", "explain", "--key", id, "delete", "team/app"}, 1, "delete team/app: denied: no rule allows it\n", "", false},
		{[]string{"policy", "explain", "delete", "team/app"}, 1, "delete team/app: denied", "", false},
		{[]string{"key", "create", "--user", "ci", "--group", "builder"}, 0, "cregk_", "key ", true},
	} {
		out, said, status := run(t, s, config, row.args...)
		if status != row.status || !strings.Contains(out, row.out) || !strings.HasPrefix(said, row.said) || !row.more && said != row.said {
			t.Errorf("%q: got status %d, %q and %q; want %d, %q and %q", row.args, status, out, said, row.status, row.out, row.said)
		}
		if strings.Contains(said, `"ts"`) || strings.Contains(said, `"level"`) {
			t.Errorf("%q: the standard error is a log: %q", row.args, said)
		}
	}
	if _, said, _ := run(t, s, config, "key", "create", "--user", "ci", "--group", "builder"); !strings.Contains(said, `warning: no rule of the policy names the group "builder"; did you mean "builders"?`) {
		t.Errorf("a misspelt group: got %q", said)
	}
	_, said, status := run(t, s, config, "purge", "elsewhere/app", "--json")
	var reported struct{ Error string }
	if err := json.Unmarshal([]byte(said), &reported); err != nil || reported.Error == "" || status != 1 {
		t.Errorf("with --json: got status %d and %q, want an error as JSON", status, said)
	}
	help, _, _ := run(t, s, config, "--help")
	for _, command := range []string{"demo", "doctor", "gc", "key", "policy", "purge", "user", "verify"} {
		if !strings.Contains(help, "\n  "+command+" ") {
			t.Errorf("the help lacks %s: %s", command, help)
		}
	}
}

// A site of a registry that no block describes is not a valid configuration.
func TestValidateRefusesASiteWithoutTheBlock(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	s := server.Start(t, server.Options{Caddyfile: caddyfile(up, "admin off"), AdminOff: true})
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte("http://127.0.0.1:1 {\n\toci_registry\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.Command(t.Context(), t, "validate", "--config", config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no block oci") {
		t.Errorf("got %v: %s", err, out)
	}
}
