package typos

import (
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/policies"
)

func rules(t *testing.T, lines ...string) (parsed []policies.Rule) {
	t.Helper()
	for _, line := range lines {
		rule, err := policies.ParseRule(false, strings.Split(line, "|"))
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, rule)
	}
	return parsed
}

func TestGroupsOfNoRule(t *testing.T) {
	ruled := Ruled(rules(t, "anonymous|read", "group|admins|*", "group|artifact-workloads|create", "group|admins|read", "user|ada|read"))
	if strings.Join(ruled, " ") != "admins artifact-workloads" {
		t.Fatalf("got %q", ruled)
	}
	for _, row := range []struct{ group, want, misspelt string }{
		{"admins", "", ""},
		{"admin", `the group "admin"; did you mean "admins"?`, "admins"},
		{"artifact-workload", `did you mean "artifact-workloads"?`, "artifact-workloads"},
		{"people", `no rule of the policy names the group "people"`, ""},
	} {
		got := strings.Join(Groups([]string{row.group}, ruled), "\n")
		if (got == "") != (row.want == "") || !strings.HasSuffix(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.group, got, row.want)
		}
		got = strings.Join(Misspelt([]string{row.group}, ruled), "\n")
		if (got == "") != (row.misspelt == "") || !strings.Contains(got, row.misspelt) {
			t.Errorf("%s misspelt: got %q, want %q", row.group, got, row.misspelt)
		}
	}
}

func TestUsersThatNobodyKnows(t *testing.T) {
	for name, want := range map[string]string{
		"ada": "", "workload:ci": "", "adda": `did you mean "ada"?`, "zoe": `nobody named "zoe" has signed in`,
	} {
		got := User(name, []string{"ada", "erich"})
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRulesThatAreMisspelt(t *testing.T) {
	for _, row := range []struct {
		rule    string
		sources Sources
		want    string // in the reason; empty: none
	}{
		{"user|ada|read", Sources{}, ""},
		{"user| ada|read", Sources{}, "begins or ends with a space"},
		{"user|" + strings.Repeat("a", 200) + "|read", Sources{}, "1 to 120 bytes"},
		{"user|workload:ci|read", Sources{}, "trusted_issuer"},
		{"user|workload:ci|read", Sources{Jobs: true}, ""},
		{"user|spiffe://a/b|read", Sources{Jobs: true}, "client_cert"},
		{"user|spiffe://a/b|read", Sources{Certificates: true}, ""},
		{"key|" + strings.Repeat("k", 101) + "|read", Sources{}, "100 bytes"},
		{"key|release key|read", Sources{}, ""},
		{"group|whatever|read", Sources{}, ""},
	} {
		got := Impossible(rules(t, row.rule), row.sources)
		if row.want == "" && len(got) > 0 || row.want != "" && (len(got) != 1 || !strings.Contains(got[0].Reason, row.want)) {
			t.Errorf("%s: got %v, want %q", row.rule, got, row.want)
		}
	}
	for rule, want := range map[string]string{
		"group|admin|*": `"admins"`, "group|admins|*": "", "group|others|*": "", "user|adda|*": `"ada"`, "user|admin|*": "", "anonymous|read": "", "key|adda|*": "",
	} {
		got := Unmet(rules(t, rule), []string{"ada"}, []string{"admins", "people"})
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0].Reason, want)) {
			t.Errorf("%s: got %v, want %q", rule, got, want)
		}
	}
}
