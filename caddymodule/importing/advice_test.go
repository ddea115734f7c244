package importing_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/transfer/zot"
	"github.com/eblume/caddy-registry/policies"
)

const example = "../../examples/registry.ops.eblu.me/zot.json"

func configuration(t *testing.T, document string) *zot.Config {
	t.Helper()
	name := example
	if document != "" {
		name = filepath.Join(t.TempDir(), "zot.json")
		if err := os.WriteFile(name, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := zot.ReadConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rule(t *testing.T, deny bool, on globs.Globs, actions []policies.Action, subject ...string) policies.Rule {
	t.Helper()
	who, _, err := policies.ParseSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	return policies.Rule{Deny: deny, Who: who, Actions: actions, On: on}
}

// An empty Caddyfile lacks everything that the example's zot has, and nothing is said about what
// needs nothing.
func TestAnAdviceForTheExample(t *testing.T) {
	got := strings.Join(importing.Advise(configuration(t, ""), importing.Here{}, nil), "\n")
	for _, want := range []string{
		"Add `mirror docker.io`: zot fetches images from https://registry-1.docker.io.",
		"Add `mirror ghcr.io`", "Add `mirror quay.io`",
		"`allow anonymous read fetch`", "`allow group artifact-workloads read fetch create`",
		"`allow group admins read fetch create update delete`",
		"Add the block `oidc` with `issuer https://authentik.ops.eblu.me/application/o/registry/`. `redirect_path /zot/auth/callback/oidc`",
		"zot has converted manifests of quay.io",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the advice lacks %q:\n%s", want, got)
		}
	}
	for _, not := range []string{"under the prefix", "retention", "schedule", "tlsVerify", "subPaths", "longest pattern"} {
		if strings.Contains(got, not) {
			t.Errorf("the advice has %q:\n%s", not, got)
		}
	}
}

// Nothing is advised that the Caddyfile has.
func TestNoAdviceAboutWhatIsThere(t *testing.T) {
	basic := []policies.Action{policies.Read, policies.Fetch}
	here := importing.Here{
		Mirrors: []string{"docker.io", "ghcr.io", "quay.io"}, SignIn: true,
		Rules: []policies.Rule{
			rule(t, false, nil, basic, "anonymous"),
			rule(t, false, nil, append(basic, policies.Create), "group", "artifact-workloads"),
			rule(t, false, nil, policies.Actions, "group", "admins"),
		},
	}
	for _, line := range importing.Advise(configuration(t, ""), here, nil) {
		if !strings.Contains(line, "preserveDigest") {
			t.Errorf("advised: %s", line)
		}
	}
	// A narrower rule, or one that denies, is not the same.
	here.Rules = []policies.Rule{
		rule(t, false, globs.Globs{"team/**"}, policies.Actions, "group", "admins"),
		rule(t, true, nil, policies.Actions, "group", "admins"),
	}
	if got := importing.Advise(configuration(t, ""), here, nil); !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "group admins") }) {
		t.Errorf("got %q", got)
	}
}

func TestAdvices(t *testing.T) {
	for _, row := range []struct{ name, document, want string }{
		{"sub-paths", `{"storage": {"subPaths": {"/a": {"rootDirectory": "/zot-a"}}}}`, "Import /zot-a with a command of its own"},
		{"retention", `{"storage": {"retention": {"policies": [{}]}}}`, "storage.retention has no equivalent"},
		{"another prefix", `{"extensions": {"sync": {"registries": [{"urls": ["https://quay.io"], "content": [{"destination": "/cache"}]}]}}}`, "under the prefix /cache; here their names begin with quay.io/"},
		{"a schedule", `{"extensions": {"sync": {"registries": [{"urls": ["https://quay.io"], "pollInterval": "6h"}]}}}`, "on a schedule"},
		{"no verification", `{"extensions": {"sync": {"registries": [{"urls": ["https://quay.io"], "tlsVerify": false, "certDir": "/c"}]}}}`, "tlsVerify is off"},
		{"a strange URL", `{"extensions": {"sync": {"registries": [{"urls": ["\u001b[31m"]}]}}}`, `invalid URL "\x1b[31m"`},
		{"a pattern", `{"http": {"accessControl": {"repositories": {"team/**": {"defaultPolicy": ["read", "create"]}}}}}`, "`allow signed_in read fetch create on team/**`"},
		{"two patterns", `{"http": {"accessControl": {"repositories": {"a/**": {}, "**": {}}}}}`, "only the longest pattern"},
		{"a pattern that is none here", `{"http": {"accessControl": {"repositories": {"/a/": {"anonymousPolicy": ["read"]}}}}}`, "The pattern /a/ of"},
		{"an unknown action", `{"http": {"accessControl": {"repositories": {"**": {"anonymousPolicy": ["detectManifestCollision"]}}}}}`, "The action detectManifestCollision"},
		{"administrators", `{"http": {"accessControl": {"adminPolicy": {"users": ["me@example.org"], "actions": ["read", "delete"]}}}}`, "`allow user me read fetch delete`"},
		{"a user without a name", `{"http": {"accessControl": {"adminPolicy": {"users": [""], "actions": ["read"]}}}}`, "a policy for a user without a name"},
		{"a name with blanks", `{"http": {"accessControl": {"adminPolicy": {"groups": ["the \"admins\""], "actions": ["read"]}}}}`, "allow group \"the \\\"admins\\\"\" read fetch"},
		{"groups", `{"http": {"accessControl": {"groups": {"g": {"users": ["a"]}}}}}`, "The members of the group g"},
		{"htpasswd", `{"http": {"auth": {"htpasswd": {"path": "/etc/htpasswd"}}}}`, "Add `local_user <name> <hash>` for the users in /etc/htpasswd"},
		{"LDAP", `{"http": {"auth": {"ldap": {}}}}`, "http.auth.ldap has no equivalent"},
		{"a token server", `{"http": {"auth": {"bearer": {}}}}`, "http.auth.bearer has no equivalent"},
		{"GitHub", `{"http": {"auth": {"openid": {"providers": {"github": {}}}}}}`, "GitHub is not an OpenID Connect provider"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := importing.Advise(configuration(t, row.document), importing.Here{}, map[string]string{"me@example.org": "me"})
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, row.want) }) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
	if got := importing.Advise(configuration(t, `{"extensions": {"sync": {"enable": false, "registries": [{"urls": ["https://quay.io"]}]}}}`), importing.Here{}, nil); len(got) > 0 {
		t.Errorf("a sync that is off: %q", got)
	}
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf(`"g%d": {}`, i))
	}
	if got := importing.Advise(configuration(t, `{"http": {"accessControl": {"groups": {`+strings.Join(names, ",")+`}}}}`), importing.Here{}, nil); len(got) != 101 || got[100] != "There are 100 more differences." {
		t.Errorf("200 groups: %d lines, the last %q", len(got), got[len(got)-1])
	}
}
