package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// The same commands by the socket of a running registry and on the storage itself.
func TestKeysAreMadeListedAndRevokedByCommand(t *testing.T) {
	storage, port := t.TempDir(), freePort(t)
	load(t, site(port, storage, "", "")) // creates the storage
	stopped := t.TempDir()
	load(t, site(port, stopped, "", ""))
	load(t, site(port, storage, "", ""))
	r := at(t, port)
	for name, dir := range map[string]string{"running": storage, "stopped": stopped} {
		t.Run(name, func(t *testing.T) {
			made, told, status := runRegistry(t, "key", "create", "--user", "zot-ci", "--group", "artifact-workloads", "--name", "ci", "--expires", "30d", "--storage", dir)
			secret := strings.TrimSuffix(made, "\n")
			if status != statusDone || !strings.HasPrefix(secret, identity.Prefix) || strings.ContainsAny(secret, " \n") {
				t.Fatalf("create: got %q, %s, status %d", made, told, status)
			}
			if strings.Contains(told, secret) {
				t.Error("the key is on the standard error")
			}
			list, _, status := runRegistry(t, "key", "list", "--storage", dir)
			lines := strings.Split(list, "\n")
			if status != statusDone || len(lines) != 3 || !strings.Contains(lines[1], "zot-ci") || strings.Contains(list, secret) {
				t.Fatalf("list: got %s, status %d", list, status)
			}
			id := strings.Fields(lines[1])[0]
			if dir == storage {
				r.want(http.StatusOK, "GET", "/v2/", nil, "Authorization", basic("x", secret))
			}
			if _, told, status := runRegistry(t, "key", "revoke", id, "--storage", dir); status != statusDone {
				t.Fatalf("revoke: %s", told)
			}
			if dir == storage {
				r.want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", basic("x", secret))
			}
			if list, _, _ := runRegistry(t, "key", "list", "--json", "--user", "zot-ci", "--storage", dir); !strings.Contains(list, `"revoked":"20`) || strings.Contains(list, "hash") {
				t.Errorf("list: got %s", list)
			}
			if list, _, status := runRegistry(t, "user", "disable", "zot-ci", "--storage", dir); status != statusDone || list != "disabled zot-ci\n" {
				t.Errorf("disable: got %s, status %d", list, status)
			}
			if list, _, _ := runRegistry(t, "user", "list", "--storage", dir); !strings.Contains(list, "disabled") {
				t.Errorf("user list: got %s", list)
			}
			if list, _, status := runRegistry(t, "user", "enable", "zot-ci", "--storage", dir); status != statusDone || list != "enabled zot-ci\n" {
				t.Errorf("enable: got %s, status %d", list, status)
			}
			for _, row := range []struct {
				args   []string
				status int
			}{
				{[]string{"key", "create"}, statusMisuse},
				{[]string{"key", "create", "--user", "a", "--expires", "soon"}, statusMisuse},
				{[]string{"key", "create", "--user", "a", "--expires", "91d"}, statusFailed},
				{[]string{"key", "create", "--user", "a:b"}, statusFailed},
				{[]string{"key", "revoke", "none"}, statusFailed},
				{[]string{"key", "revoke"}, statusMisuse},
				{[]string{"key"}, statusMisuse},
				{[]string{"user", "forget", "x"}, statusMisuse},
			} {
				if out, told, status := runRegistry(t, append(row.args, "--storage", dir)...); status != row.status || out != "" || told == "" {
					t.Errorf("%v: got status %d, %q, %q; want %d", row.args, status, out, told, row.status)
				}
			}
		})
	}
}

// The limit of the configuration holds for keys that are made while no server runs.
func TestKeysByCommandHaveTheLimitOfTheConfiguration(t *testing.T) {
	storage := t.TempDir()
	config := filepath.Join(t.TempDir(), "Caddyfile")
	text := site(freePort(t), storage, "limits {\nkeys 2\n}", "")
	load(t, text) // creates the storage
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	released(t)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{statusDone, statusDone, statusFailed} {
		_, told, status := runRegistry(t, "key", "create", "--user", "ci", "--config", config)
		if status != want || strings.Contains(told, "may have 2") != (want == statusFailed) {
			t.Errorf("key %d: got status %d, want %d: %s", i+1, status, want, told)
		}
	}
}
