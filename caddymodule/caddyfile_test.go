package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// An unknown option is refused with its line, because ignoring a misspelt option, or
// one of another version, would be worse.
func TestCaddyfileRefuses(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown option", "{\noci {\nurl https://a\nmirrors docker.io\n}\n}", []string{"Caddyfile:4", "mirrors"}},
		{"an unknown option of oidc", "{\noci {\noidc {\nissuer https://a\nsecret x\n}\n}\n}",
			[]string{"Caddyfile:5", "secret"}},
		{"an option of oidc twice", "{\noci {\noidc {\nlabel a\nlabel b\n}\n}\n}", []string{"Caddyfile:5", "label"}},
		{"a duration of oidc that is none", "{\noci {\noidc {\nsession long\n}\n}\n}",
			[]string{"Caddyfile:4", "session"}},
		{"a local user without a hash", "{\noci {\nlocal_user erich\n}\n}", []string{"Caddyfile:3", "hash-password"}},
		{"a local user with a block", "{\noci {\nlocal_user erich x {\ngroups a\n}\n}\n}",
			[]string{"Caddyfile:4", "block"}},
		{"an unknown option of gc", "{\noci {\ngc {\ninterval 1h\nsometimes 1h\n}\n}\n}",
			[]string{"Caddyfile:5", "sometimes"}},
		{"an unknown storage", "{\noci {\nstorage tape /dev/st0\n}\n}", []string{"Caddyfile:3", "oci.storage.tape"}},
		{"an unknown option of a storage", "{\noci {\nstorage file /srv {\nchecksums /cache\n}\n}\n}",
			[]string{"Caddyfile:4", "checksums"}},
		{"no size of a mirror", "{\noci {\nmirror a.io {\nmax_size much\n}\n}\n}",
			[]string{"Caddyfile:4", "max_size", "much"}},
		{"no amount of free space", "{\noci {\nmin_free much\n}\n}", []string{"Caddyfile:3", "min_free", "much"}},
		{"an unknown option of the site", "http://:5050 {\noci_registry {\nwrite_only\n}\n}",
			[]string{"Caddyfile:3", "write_only"}},
		{"an argument of the site", "http://:5050 {\noci_registry a b\n}", []string{"Caddyfile:2"}},
		{"an argument of the block", "{\noci x {\n}\n}", []string{"Caddyfile:2"}},
		{"a duplicate block", "{\noci {\n}\noci {\n}\n}", []string{"Caddyfile:4", "duplicate option oci"}},
		{"a url without a value", "{\noci {\nurl\n}\n}", []string{"Caddyfile:3"}},
		{"private without a glob", "{\noci {\nprivate\n}\n}", []string{"Caddyfile:3"}},
		{"verification that never rests", "{\noci {\nverify {\nevery 1s\n}\n}\n}",
			[]string{"Caddyfile:4", "every must be at least a minute"}},
		{"verification at no rate", "{\noci {\nverify {\nrate 0\n}\n}\n}", []string{"Caddyfile:4", "rate"}},
		{"verification twice", "{\noci {\nverify {\n}\nverify {\n}\n}\n}",
			[]string{"Caddyfile:5", "duplicate option verify"}},
		{"an age that is none", "{\noci {\ngc {\ngrace soon\n}\n}\n}", []string{"Caddyfile:4", "grace", "soon"}},
		{"a grace of nothing", "{\noci {\ngc {\ngrace 0s\n}\n}\n}", []string{"Caddyfile:4", "grace"}},
		{"a negative interval", "{\noci {\ngc {\ninterval -1h\n}\n}\n}", []string{"Caddyfile:4", "interval"}},

		{"a rule for nobody known", "{\noci {\npolicy {\nallow role admins *\n}\n}\n}",
			[]string{"Caddyfile:4", "role", "signed_in"}},
		{"a rule for a group without a name", "{\noci {\npolicy {\nallow group\n}\n}\n}",
			[]string{"Caddyfile:4", "group"}},
		{"an unknown action", "{\noci {\npolicy {\nallow anonymous push\n}\n}\n}",
			[]string{"Caddyfile:4", "push", "create"}},
		{"a rule without actions", "{\noci {\npolicy {\nallow anonymous\n}\n}\n}", []string{"Caddyfile:4"}},
		{"a rule on a bad glob", "{\noci {\npolicy {\ndeny anonymous read on team/[\n}\n}\n}",
			[]string{"Caddyfile:4", "team/["}},
		{"a rule on nothing", "{\noci {\npolicy {\nallow anonymous read on\n}\n}\n}", []string{"Caddyfile:4", "on"}},
		{"neither allow nor deny", "{\noci {\npolicy {\npermit anonymous read\n}\n}\n}",
			[]string{"Caddyfile:4", "permit"}},
		{"a rule with a block", "{\noci {\npolicy {\nallow anonymous read {\non a\n}\n}\n}\n}",
			[]string{"Caddyfile:5", "block"}},
		{"a policy without rules", "{\noci {\npolicy {\n}\n}\n}", []string{"Caddyfile:4", "no rule"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := registrytest.AdaptError(row.text)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to name %s", err, want)
				}
			}
		})
	}
}

// Options that need each other are checked by `caddy validate`.
func TestValidateRefuses(t *testing.T) {
	for _, row := range []struct {
		name, oci, want string
	}{
		{"a url without a scheme", `{"url": "registry.example.com"}`, "url"},
		{"a url with a path", `{"url": "https://example.com/registry"}`, "url"},
		{"a hostname with a path", `{"hostnames": ["example.com/x"]}`, "hostnames"},
		{"a glob that is none", `{"private": ["team/["]}`, "private"},
		{"a policy without rules", `{"policy": {}}`, "policy"},
		{"a local user whose hash is a password",
			`{"local_user": [{"name": "erich", "hash": "x", "line": "Caddyfile:7"}]}`,
			"Caddyfile:7: local_user erich: the password hash is not a bcrypt hash"},
		{"a local user whose hash is slow",
			`{"local_user": [{"name": "erich", ` +
				`"hash": "$2a$15$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde"}]}`,
			"local_user erich: the hash has the cost 15"},
		{"two local users of one name",
			`{"local_user": [{"name": "erich", "hash": "{env.A}"}, {"name": "erich", "hash": "{env.B}", ` +
				`"line": "Caddyfile:8"}]}`, "Caddyfile:8: local_user erich: there is another"},
		{"a local user without a name", `{"local_user": [{"hash": "{env.A}"}]}`, "invalid user name"},
		{"a local user with a colon", `{"local_user": [{"name": "a:b", "hash": "{env.A}"}]}`, "colon"},
		{"a local user in no group", `{"local_user": [{"name": "a", "hash": "{env.A}", "groups": [" "]}]}`,
			"invalid group name"},
		{"a rule for nobody known", `{"policy": {"allow": [{"who": "role admins", "actions": ["*"]}]}}`, "role"},
		{"a rule for more than one", `{"policy": {"allow": [{"who": "signed_in or not", "actions": ["*"]}]}}`,
			"or not"},
		{"a rule without actions", `{"policy": {"deny": [{"who": "anonymous"}]}}`, "actions"},
		{"a rule that can never match",
			`{"private": ["team/**"], "policy": {"allow": [{"who": "anonymous", "actions": ["read"], ` +
				`"on": ["other/**"], "line": "Caddyfile:7"}]}}`, "Caddyfile:7: allow anonymous read on other/**"},
		{"a push to a mirror allowed",
			`{"mirror": {"docker.io": {}}, "policy": {"allow": [{"who": "group a", "actions": ["read", ` +
				`"create"], "on": ["docker.io/**"]}]}}`, "pushed to a mirror"},
		{"a rule without a line that can never match",
			`{"private": ["team/**"], "policy": {"deny": [{"who": "group a", "actions": ["read"], ` +
				`"on": ["other/**"]}]}}`, "deny group a read on other/**"},
		{"a negative grace", `{"gc": {"grace": -1}}`, "grace"},
		{"a verification before the last", `{"verify": {"every": -1}}`, "verify: every"},
		{"a verification at no known rate", `{"verify": {"rate": "much"}}`, `verify: "much" is not a size`},
		{"an unknown field", `{"mirrors": {}}`, "mirrors"},
		{"addresses of Redis that are of nothing", `{"cache": {"module": "redis", "address": ["a", "b"]}}`,
			"add cluster"},
		{"sentinels without a master", `{"cache": {"module": "redis", "address": ["a"], "sentinel": {}}}`,
			"sentinel mymaster"},
		{"an unknown storage", `{"storage": {"module": "tape"}}`, "tape"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := registrytest.Validate(t, `{"apps": {"oci": `+row.oci+`}}`)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got error %v, want it to name %s", err, row.want)
			}
		})
	}
}

func TestValidateCreatesNothing(t *testing.T) {
	storage := filepath.Join(t.TempDir(), "not", "there")
	if err := registrytest.Validate(t,
		string(registrytest.Adapt(t,
			registrytest.Caddyfile(registrytest.FreePort(t), storage, registrytest.AllowAll, "")))); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(storage)); !os.IsNotExist(err) {
		t.Errorf("%s: got %v, want it not to exist", filepath.Dir(storage), err)
	}
	if n := openStorages(); n != 0 {
		t.Errorf("%d storages are in use after a validation", n)
	}
}

// openStorages counts what configurations of this process use.
func openStorages() int { return len(running.Storages()) }

func TestRelativeStorageNeedsAWorkingDirectory(t *testing.T) {
	t.Chdir("/")
	err := registrytest.Validate(t, `{"apps": {"oci": {}}}`)
	if err == nil || !strings.Contains(err.Error(), "working directory is /") {
		t.Errorf("got error %v, want a sentence about the working directory", err)
	}
}

func TestStorageKeyIsTheDirectoryItself(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	for _, path := range []string{"data", "./data", filepath.Join(root, "data"), filepath.Join(root, "link", "data"),
		"link/link/../data"} {
		s := &storage.File{Path: path}
		if err := s.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		if want := "file:" + filepath.Join(root, "data"); s.Key() != want {
			t.Errorf("%s: got key %s, want %s", path, s.Key(), want)
		}
	}
}
