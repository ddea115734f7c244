package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// The same commands by the socket of a running registry and on the storage itself.
func TestKeysAreMadeListedAndRevokedByCommand(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	registrytest.Serve(t, port, storage, "", "") // creates the storage
	stopped := t.TempDir()
	registrytest.Serve(t, port, stopped, "", "")
	r := registrytest.Serve(t, port, storage, "", "")
	for name, dir := range map[string]string{"running": storage, "stopped": stopped} {
		t.Run(name, func(t *testing.T) {
			made, told, status := registrytest.Run(t, "key", "create", "--user", "zot-ci",
				"--group", "artifact-workloads", "--name", "ci", "--expires", "30d", "--storage", dir)
			secret := strings.TrimSuffix(made, "\n")
			if status != registrytest.Done || !strings.HasPrefix(secret, identity.Prefix) ||
				strings.ContainsAny(secret, " \n") {
				t.Fatalf("create: got %q, %s, status %d", made, told, status)
			}
			if strings.Contains(told, secret) {
				t.Error("the key is on the standard error")
			}
			list, _, status := registrytest.Run(t, "key", "list", "--storage", dir)
			lines := strings.Split(list, "\n")
			if status != registrytest.Done || len(lines) != 3 || !strings.Contains(lines[1], "zot-ci") ||
				strings.Contains(list, secret) {
				t.Fatalf("list: got %s, status %d", list, status)
			}
			id := strings.Fields(lines[1])[0]
			if dir == storage {
				r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", secret))
			}
			if _, told, status := registrytest.Run(t, "key", "revoke", id,
				"--storage", dir); status != registrytest.Done {
				t.Fatalf("revoke: %s", told)
			}
			if dir == storage {
				r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", secret))
			}
			if list, _, _ := registrytest.Run(t, "key", "list", "--json", "--user", "zot-ci",
				"--storage", dir); !strings.Contains(list, `"revoked":"20`) || strings.Contains(list, "hash") {
				t.Errorf("list: got %s", list)
			}
			if list, _, status := registrytest.Run(t, "user", "disable", "zot-ci",
				"--storage", dir); status != registrytest.Done || list != "disabled zot-ci\n" {
				t.Errorf("disable: got %s, status %d", list, status)
			}
			if list, _, _ := registrytest.Run(t, "user", "list",
				"--storage", dir); !strings.Contains(list, "disabled") {
				t.Errorf("user list: got %s", list)
			}
			if list, _, status := registrytest.Run(t, "user", "enable", "zot-ci",
				"--storage", dir); status != registrytest.Done || list != "enabled zot-ci\n" {
				t.Errorf("enable: got %s, status %d", list, status)
			}
			for _, row := range []struct {
				args   []string
				status int
			}{
				{[]string{"key", "create"}, registrytest.Misuse},
				{[]string{"key", "create", "--user", "a", "--expires", "soon"}, registrytest.Misuse},
				{[]string{"key", "create", "--user", "a", "--expires", "91d"}, registrytest.Failed},
				{[]string{"key", "create", "--user", "a:b"}, registrytest.Failed},
				{[]string{"key", "revoke", "none"}, registrytest.Failed},
				{[]string{"key", "revoke"}, registrytest.Misuse},
				{[]string{"key"}, registrytest.Misuse},
				{[]string{"user", "forget", "x"}, registrytest.Misuse},
			} {
				if out, told, status := registrytest.Run(t,
					append(row.args, "--storage", dir)...); status != row.status || out != "" || told == "" {
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
	text := registrytest.Caddyfile(registrytest.FreePort(t), storage, "limits {\nkeys 2\n}", "")
	registrytest.Load(t, text) // creates the storage
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Released(t)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{registrytest.Done, registrytest.Done, registrytest.Failed} {
		_, told, status := registrytest.Run(t, "key", "create", "--user", "ci", "--config", config)
		if status != want || strings.Contains(told, "may have 2") != (want == registrytest.Failed) {
			t.Errorf("key %d: got status %d, want %d: %s", i+1, status, want, told)
		}
	}
}
