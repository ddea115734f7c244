package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// Names that nobody has are warned of by the commands, and by the server at its start.
func TestMisspeltNamesAreWarnedOf(t *testing.T) {
	port, dir, log := registrytest.FreePort(t), t.TempDir(), filepath.Join(t.TempDir(), "log")
	text := strings.Replace(registrytest.Caddyfile(port, dir, `policy {
			allow anonymous read fetch
			allow group admins *
			allow group artifact-workloads read create
			allow user erick read
			allow user workload:ci read
			allow user " x" read
		}
		mirror docker.oi
		mirror gcr.io
		mirror dcoker.io {
			upstream https://dcoker.io
		}
		local_user erich `+registrytest.PasswordHash()+` admin`, ""), "admin off",
		"admin off\n\tlog {\n\t\toutput file "+log+"\n\t\tformat json\n\t}", 1)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, caddyfile.Format([]byte(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, text)
	logged := registrytest.ReadFile(t, log)
	for _, want := range []string{
		`"mirror may be misspelt","mirror":"docker.oi","reason":"did you mean docker.io?`,
		`"rule may be misspelt","rule":"allow user erick read"`, `did you mean \"erich\"?`,
		`"group may be misspelt","reason":"no rule of the policy names the group \"admin\"; did you mean \"admins\"?"`,
		`"rule can never match","rule":"allow user workload:ci read"`, "trusted_issuer",
		`"rule can never match","rule":"allow user  x read"`,
	} {
		if !strings.Contains(logged, want) {
			t.Errorf("the log lacks %s: %s", want, logged)
		}
	}
	for _, unwanted := range []string{`"mirror":"gcr.io"`, `"mirror":"dcoker.io"`,
		`"rule":"allow group artifact-workloads`} {
		if strings.Contains(logged, unwanted+`,"reason"`) {
			t.Errorf("the log has %s: %s", unwanted, logged)
		}
	}
	check := func(nobody string, where ...string) {
		t.Helper()
		for _, row := range []struct {
			args []string
			want string // in a warning; empty: none
		}{
			{[]string{"key", "create", "--user", "ci", "--group", "artifact-workload"},
				`no rule of the policy names the group "artifact-workload"; did you mean "artifact-workloads"?`},
			{[]string{"key", "create", "--user", "ci", "--group", "people"},
				`no rule of the policy names the group "people"`},
			{[]string{"key", "create", "--user", "ci", "--group", "artifact-workloads"}, ""},
			{[]string{"user", "disable", nobody}, `nobody named "` + nobody +
				`" has signed in, has an API key or is a local_user; did you mean "erich"?`},
			{[]string{"user", "enable", "erich"}, ""},
			{[]string{"user", "disable", "ci"}, ""},
			{[]string{"user", "enable", "ci"}, ""},
		} {
			_, told, status := registrytest.Run(t, append(row.args, where...)...)
			warned := strings.Contains(told, "warning: no")
			if status != registrytest.Done || warned != (row.want != "") || !strings.Contains(told, row.want) {
				t.Errorf("%q: got status %d and %q, want %q", row.args, status, told, row.want)
			}
		}
	}
	check("eric", "--storage", dir) // the running registry knows its policy
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Released(t)
	check("ehrich", "--config", config)
	// Without a configuration no group is known to be wrong.
	if _, told, _ := registrytest.Run(t, "key", "create", "--user", "ci", "--group", "people",
		"--storage", dir); strings.Contains(told, "warning") {
		t.Errorf("without a policy: got %q", told)
	}
}

func TestASiteWithoutTheBlockIsRefused(t *testing.T) {
	err := registrytest.Validate(t, string(registrytest.Adapt(t, ":1 {\n\toci_registry\n}\n")))
	if err == nil || !strings.Contains(err.Error(), "there is no block oci") {
		t.Errorf("got %v", err)
	}
	if err := registrytest.Validate(t,
		string(registrytest.Adapt(t, "{\n\toci\n}\n:1 {\n\toci_registry\n}\n"))); err != nil {
		t.Errorf("an empty block: got %v", err)
	}
}

// The command knows whose key it is asked about, whether or not a server runs.
func TestPolicyExplainKnowsAKey(t *testing.T) {
	port, dir := registrytest.FreePort(t), t.TempDir()
	text := registrytest.Caddyfile(port, dir, `policy {
			allow anonymous read fetch
			allow group artifact-workloads read create
			allow group admins *
			allow key deploy delete
		}
		local_user erich `+registrytest.PasswordHash()+` admins`, "")
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, caddyfile.Format([]byte(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, text)
	registrytest.At(t, port).Want(http.StatusOK, "GET", "/v2/_catalog", nil)
	store := registrytest.Callers(t).Identity
	made := func(want identity.NewKey) identity.Key {
		t.Helper()
		want.By = control.ByCommand
		_, key, err := store.Keys().Create(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	ci := made(identity.NewKey{User: "ci", Name: "deploy", Service: true, Groups: []string{"artifact-workloads"}})
	narrow := made(identity.NewKey{User: "boss", Name: "narrow", Service: true, Groups: []string{"admins"},
		Actions: []string{"read"}, Globs: []string{"team/**"}})
	local := made(identity.NewKey{User: "erich", Name: "mine", Local: true})
	if _, err := store.Users().SignedIn(t.Context(),
		identity.User{Name: "ada", Issuer: "i", Subject: "s", Groups: []string{"artifact-workloads"}}); err != nil {
		t.Fatal(err)
	}
	ada := made(identity.NewKey{User: "ada", Name: "hers"})
	old := made(identity.NewKey{User: "ci", Name: "old", Service: true, Groups: []string{"admins"}})
	if _, err := store.Keys().Revoke(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	check := func(name string) {
		for _, row := range []struct {
			key, action string
			status      int
			want        []string
			warns       string
		}{
			{ci.ID, "create", 0,
				[]string{fmt.Sprintf("key %s (deploy) of ci, in artifact-workloads", ci.ID), "allowed by",
					"group artifact-workloads"}, ""},
			{"deploy", "create", 0, []string{ci.ID, "allowed by"}, ""},
			{"deploy", "delete", 0, []string{"allow key deploy delete"}, ""},
			{"deploy", "update", 1, []string{"denied: no rule allows it"}, ""},
			{narrow.ID, "delete", 1,
				[]string{"but the key may not be used for that: it was made for read on team/** alone"}, ""},
			{local.ID, "delete", 0, []string{"of erich, in admins", "allowed by"}, ""},
			{ada.ID, "create", 0, []string{"of ada, in artifact-workloads"}, ""},
			{"hers", "create", 1, []string{"denied"}, `label "hers"`}, // a label that a person gave counts for nothing
			{"old", "create", 1, []string{"in admins", `but the key is refused: API key "old" was revoked on`}, ""},
			{"nobody's", "read", 0, []string{"allowed"},
				`no key has the ID or, of a service account, the label "nobody's"`},
		} {
			out, told, status := registrytest.Run(t, "policy", "explain", "--key", row.key, row.action, "team/app",
				"--config", config)
			for _, want := range row.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s: %s %s: got %q, want %q", name, row.key, row.action, out, want)
				}
			}
			if status != row.status || (told == "") != (row.warns == "") || !strings.Contains(told, row.warns) {
				t.Errorf("%s: %s %s: got status %d and %q on standard error, want %d and %q", name, row.key, row.action,
					status, told, row.status, row.warns)
			}
		}
	}
	check("with a server")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Released(t)
	check("without one")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	out, told, status := registrytest.Run(t, "policy", "explain", "--key", "deploy", "delete", "team/app",
		"--config", config)
	if status != 0 || !strings.Contains(out, "allow key deploy delete") ||
		!strings.Contains(told, "the groups of the key \"deploy\" are not known") {
		t.Errorf("without a storage: got status %d, %q and %q", status, out, told)
	}
}
