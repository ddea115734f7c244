package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// threeTiers is a configuration whose secrets are nowhere, and need not be.
const threeTiers = `{
	oci {
		storage file {env.NOBODY_SET_THIS}
		private blumeops/**
		local_user local $2a$10$td7NJWShfKFAh3.3RspxRe.u70t/6rWt15oFqsOwi/FiA0MzmLp9i admins
		mirror docker.io {
			credentials {env.NOBODY_SET_THIS} {env.NOBODY_SET_THIS}
		}
		policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create
			allow group admins *
			deny user mallory * on blumeops/secret/**
			allow key "release key" update on blumeops/**
			allow key 0123456789ac update on blumeops/**
		}
	}
}
`

func TestPolicyExplain(t *testing.T) {
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(threeTiers), 0o600); err != nil {
		t.Fatal(err)
	}
	push := func(q question) question { q.action, q.target = "push", "blumeops/app:v1"; return q }
	for _, row := range []struct {
		name    string
		ask     question
		allowed bool
		want    []string
	}{
		{"a workload pushes", push(question{groups: []string{"artifact-workloads"}}), true, []string{
			"create blumeops/app:v1 (the tag is absent): allowed by " + config + ":11: allow group artifact-workloads read fetch create",
			"update blumeops/app:v1 (the tag is there): denied: no rule allows it"}},
		{"an admin pushes", push(question{user: "erich", groups: []string{"people", "admins"}}), true, []string{
			"create blumeops/app:v1 (the tag is absent): allowed by " + config + ":12: allow group admins *",
			"update blumeops/app:v1 (the tag is there): allowed by " + config + ":12: allow group admins *"}},
		{"a local user has the groups of the configuration", push(question{user: "local"}), true, []string{"(the tag is there): allowed by " + config + ":12: allow group admins *"}},
		{"a local user in a group that is named", push(question{user: "local", groups: []string{"people"}}), false, []string{"(the tag is there): denied: no rule allows it"}},
		{"nobody pushes", push(question{anonymous: true}), false, []string{"(the tag is absent): denied: no rule allows it"}},
		// A caller who may only update cannot push, and is told why.
		{"a key that may update", push(question{key: "release key"}), false, []string{
			"denied", ":14: allow key release key update on blumeops/**", "but a push needs create, too: denied"}},
		{"a key by an ID that is a label", push(question{key: "0123456789ab"}), false, []string{"(the tag is there): denied: no rule allows it"}},
		{"a key by its ID", push(question{key: "0123456789AC"}), false, []string{":15: allow key 0123456789ac update on blumeops/**"}},
		{"anybody reads", question{action: "read", target: "blumeops/app"}, true, []string{"read blumeops/app: allowed by " + config + ":10"}},
		{"who is denied", question{user: "mallory", groups: []string{"admins"}, action: "delete", target: "blumeops/secret/x"}, false, []string{"denied by " + config + ":13: deny user mallory *"}},
		{"a mirror takes no push", question{groups: []string{"admins"}, action: "push", target: "docker.io/library/nginx:1"}, false, []string{"denied", "docker.io is a mirror"}},
		{"a mirror's names in their one form", question{anonymous: true, action: "fetch", target: "docker.io/nginx"}, true, []string{"fetch docker.io/library/nginx: allowed"}},
		{"nobody's name", question{user: "erich", groups: []string{"admins"}, action: "push", target: "other/app:v1"}, false, []string{"denied", "blumeops/**"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			where := &location{config: config, adapter: "caddyfile"}
			allowed, err := where.explain(&out, &row.ask)
			if err != nil || allowed != row.allowed {
				t.Errorf("got %v, %v; want %v", allowed, err, row.allowed)
			}
			for _, want := range row.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want it to say %q", out.String(), want)
				}
			}
		})
	}
	for _, ask := range []question{
		{action: "pull", target: "a"},
		{action: "read", target: "A"},
		{action: "read", target: "a:"},
		{action: "read", target: "a", user: "x", anonymous: true},
	} {
		var out strings.Builder
		if _, err := (&location{config: config, adapter: "caddyfile"}).explain(&out, &ask); !errors.Is(err, errQuestion) {
			t.Errorf("%+v: got error %v, want it refused as no question", ask, err)
		}
	}
}

func TestPolicyExplainsTheDefault(t *testing.T) {
	var out strings.Builder
	allowed, err := (&location{storage: "/nowhere"}).explain(&out, &question{action: "push", target: "a:v1", user: "erich"})
	if err != nil || allowed || !strings.Contains(out.String(), "denied: no rule allows it") {
		t.Errorf("got %v, %v, %q", allowed, err, out.String())
	}
}
