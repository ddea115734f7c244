package workload

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	ours   = "https://forge.example.org/api/actions"
	github = "https://token.actions.githubusercontent.com"
)

// claimsOf are claims as a token brings them.
func claimsOf(t *testing.T, changes map[string]any) Claims {
	t.Helper()
	data, err := json.Marshal(job(ours, time.Now(), changes))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := readClaims(data)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestRulesThatAreRefused(t *testing.T) {
	aud := []string{audience}
	owner := Claim{"repository_owner", []string{"blumeops"}}
	for _, row := range []struct {
		name, issuer string
		rule         Rule
		want         string // in the error; "" is none
	}{
		{"our own issuer", ours, Rule{Audience: aud}, ""},
		{"no audience", ours, Rule{}, "audience is missing"},
		{"an empty audience", ours, Rule{Audience: []string{""}}, "audience is missing"},

		// Strangers have tokens of these.
		{"GitHub with a claim", github, Rule{Audience: aud, Claims: []Claim{owner}}, ""},
		{"GitHub with a condition", github, Rule{Audience: aud, Condition: `claims.repository_owner == "blumeops"`}, ""},
		{"GitHub", github, Rule{Audience: aud}, "everybody can get a token"},
		{"GitHub for an enterprise", github + "/octo", Rule{Audience: aud}, "everybody can get a token"},
		{"GitHub in capitals", "https://TOKEN.actions.githubusercontent.com.", Rule{Audience: aud}, "everybody can get a token"},
		{"GitLab", "https://gitlab.com", Rule{Audience: aud}, "everybody can get a token"},
		{"Codeberg", "https://codeberg.org/api/actions", Rule{Audience: aud}, "everybody can get a token"},
		{"GitHub with a claim that everybody has", github, Rule{Audience: aud, Claims: []Claim{{"sub", []string{"**"}}}}, "everybody can get a token"},
		{"GitHub with a way out", github, Rule{Audience: aud, Claims: []Claim{{"repository", []string{"blumeops/*", "*/*"}}}}, "everybody can get a token"},
		{"GitHub with what all its tokens say", github, Rule{Audience: aud, Claims: []Claim{{"iss", []string{github}}}}, "everybody can get a token"},

		{"a claim without a pattern", ours, Rule{Audience: aud, Claims: []Claim{{"ref", nil}}}, "write a name and a pattern"},
		{"an invalid pattern", ours, Rule{Audience: aud, Claims: []Claim{{"ref", []string{"[a"}}}}, "is not a pattern"},

		{"a condition that is not valid CEL", ours, Rule{Audience: aud, Condition: `claims.ref ==`}, "condition: "},
		{"a condition that is not a boolean", ours, Rule{Audience: aud, Condition: `claims.ref`}, "compare it"},
		{"a condition that is a number", ours, Rule{Audience: aud, Condition: `size(claims)`}, "compare it"},
		{"a condition about something else", ours, Rule{Audience: aud, Condition: `request.path == "/"`}, "undeclared reference"},
		{"a condition that is always true", github, Rule{Audience: aud, Condition: `true`}, "asks for no claim"},
		{"an empty condition", ours, Rule{Audience: aud, Condition: `[1].exists(c, c == 1)`}, "asks for no claim"},
		{"a condition with an invalid pattern", ours, Rule{Audience: aud, Condition: `claims.ref.matches("[")`}, "condition: "},

		{"a user with a claim", ours, Rule{Audience: aud, User: "{claims.repository}"}, ""},
		{"a user with another placeholder", ours, Rule{Audience: aud, User: "{env.HOME}"}, "a placeholder is {claims.NAME}"},
		{"a placeholder without an end", ours, Rule{Audience: aud, User: "a{claims.b"}, "a placeholder is {claims.NAME}"},
		{"a placeholder without a name", ours, Rule{Audience: aud, User: "{claims.}"}, "a placeholder is {claims.NAME}"},
		{"an end without a placeholder", ours, Rule{Audience: aud, User: "a}"}, "has a } without a {"},
		{"a user of only the prefix", ours, Rule{Audience: aud, User: "workload:"}, "the name is empty"},
		{"a group that the token chooses", ours, Rule{Audience: aud, Groups: []string{"ci", "{claims.environment}"}}, "could choose any"},
		{"a group that two claims choose", ours, Rule{Audience: aud, Groups: []string{"{claims.a}{claims.b}"}}, "could choose any"},
		{"a group with a text of its own", ours, Rule{Audience: aud, Groups: []string{"ci-{claims.environment}"}}, ""},
		{"an empty group", ours, Rule{Audience: aud, Groups: []string{""}}, "could choose any"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.rule.Compile(row.issuer)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want it to say %q", err, row.want)
			}
		})
	}
}

func TestWhatHolds(t *testing.T) {
	claim := func(name string, globs ...string) []Claim { return []Claim{{name, globs}} }
	for _, row := range []struct {
		name      string
		changes   map[string]any
		claims    []Claim
		condition string
		holds     bool
	}{
		{name: "our audience", holds: true},
		{name: "our audience among others", changes: map[string]any{"aud": []string{"other", audience}}, holds: true},
		{name: "another audience", changes: map[string]any{"aud": "other"}},
		{name: "no audience", changes: map[string]any{"aud": nil}},
		{name: "an audience that is a number", changes: map[string]any{"aud": 7}},
		{name: "a list of no audience", changes: map[string]any{"aud": []any{7, nil, map[string]any{"a": audience}}}},
		{name: "a part of our audience", changes: map[string]any{"aud": audience + ".evil.example"}},

		// A claim is a text, true or false, a number, or a list of these.
		{name: "a text", claims: claim("repository", "blumeops/app"), holds: true},
		{name: "a pattern", claims: claim("repository", "blumeops/*"), holds: true},
		{name: "one of two patterns", claims: claim("ref", "refs/tags/*", "refs/heads/main"), holds: true},
		{name: "a pattern over slashes", claims: claim("sub", "repo:blumeops/**"), holds: true},
		{name: "another text", claims: claim("repository", "blumeops/other")},
		{name: "a longer text", claims: claim("repository_owner", "blume")},
		{name: "another case", claims: claim("repository", "Blumeops/app")},
		{name: "a star that would have to be a slash", claims: claim("sub", "repo:*")},
		{name: "a name that begins alike", changes: map[string]any{"repository": "blumeops-evil/app"}, claims: claim("repository", "blumeops/*")},
		{name: "true", changes: map[string]any{"protected": true}, claims: claim("protected", "true"), holds: true},
		{name: "false", changes: map[string]any{"protected": false}, claims: claim("protected", "true")},
		{name: "a number", claims: claim("run_number", "7"), holds: true},
		{name: "a large number", changes: map[string]any{"id": 123456789012345678}, claims: claim("id", "123456789012345678"), holds: true},
		{name: "a fraction", changes: map[string]any{"id": 1.5}, claims: claim("id", "1.5"), holds: true},
		{name: "another number", claims: claim("run_number", "70")},
		{name: "an element of a list", changes: map[string]any{"teams": []any{"a", "b"}}, claims: claim("teams", "b"), holds: true},
		{name: "no element of a list", changes: map[string]any{"teams": []any{"a", "b"}}, claims: claim("teams", "a*b", "a,b")},
		{name: "an empty list", changes: map[string]any{"teams": []any{}}, claims: claim("teams", "**")},
		{name: "a list in a list", changes: map[string]any{"teams": []any{[]any{"a"}}}, claims: claim("teams", "a")},
		{name: "an object", changes: map[string]any{"team": map[string]any{"team": "a"}}, claims: claim("team", "**")},
		{name: "a null", changes: map[string]any{"team": json.RawMessage("null")}, claims: claim("team", "**")},
		{name: "a claim that is missing", claims: claim("environment", "**")},
		{name: "a claim within another", changes: map[string]any{"a": map[string]any{"b": "c"}}, claims: claim("a.b", "c")},
		{name: "a claim with a dot in its name", changes: map[string]any{"kubernetes.io": "c"}, claims: claim("kubernetes.io", "c"), holds: true},
		{name: "all of two claims", claims: append(claim("ref", "refs/heads/*"), claim("event_name", "push")...), holds: true},
		{name: "one of two claims", claims: append(claim("ref", "refs/heads/*"), claim("event_name", "release")...)},
		{name: "the same claim twice", claims: append(claim("ref", "refs/heads/*"), claim("ref", "refs/tags/*")...)},

		{name: "a condition", condition: `claims.ref == "refs/heads/main" && claims.event_name in ["push", "release"]`, holds: true},
		{name: "a condition that counts", condition: `claims.run_number >= 7 && claims.exp > claims.iat`, holds: true},
		{name: "a condition on what lies deeper", changes: map[string]any{"kubernetes.io": map[string]any{"namespace": "ci"}}, condition: `claims["kubernetes.io"].namespace == "ci"`, holds: true},
		{name: "a condition that asks first", condition: `!has(claims.environment) || claims.environment == "release"`, holds: true},
		{name: "a condition with a macro", changes: map[string]any{"teams": []any{"a", "b"}}, condition: `claims.teams.exists(t, t == "b")`, holds: true},
		{name: "a condition that is false", condition: `claims.ref.startsWith("refs/tags/")`},
		{name: "a condition on a claim that is missing", condition: `claims.environment == "release"`},
		{name: "a condition that a missing claim is not", condition: `claims.environment != "release"`},
		{name: "a condition that a missing claim is not, in other words", condition: `!(claims.environment == "release")`},
		{name: "a condition on a claim of another type", condition: `claims.run_number.startsWith("7")`},
		{name: "a condition that divides by zero", condition: `claims.run_number / 0 == 1`},
		{name: "a claim, and a condition that is false", claims: claim("ref", "refs/heads/*"), condition: `claims.event_name == "release"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			rule, err := Rule{Audience: []string{audience}, Claims: row.claims, Condition: row.condition}.Compile(ours)
			if err != nil {
				t.Fatal(err)
			}
			err = rule.Holds(claimsOf(t, row.changes))
			if row.holds && err != nil || !row.holds && !errors.Is(err, ErrToken) {
				t.Errorf("got %v, want it to hold: %v", err, row.holds)
			}
		})
	}
}

// Claims that a job chooses must not keep a core busy.
func TestAConditionThatCostsTooMuch(t *testing.T) {
	long := make([]any, 1000)
	for i := range long {
		long[i] = "team"
	}
	rule, err := Rule{Audience: []string{audience}, Condition: `claims.teams.all(a, claims.teams.all(b, a == b && claims.teams.all(c, a == c)))`}.Compile(ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := rule.Holds(claimsOf(t, map[string]any{"teams": long[:10]})); err != nil {
		t.Errorf("of ten teams: %v", err)
	}
	err = rule.Holds(claimsOf(t, map[string]any{"teams": long}))
	if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("of a thousand teams: got %v", err)
	}
}

func TestWhoAJobIs(t *testing.T) {
	for _, row := range []struct {
		name    string
		rule    Rule
		changes map[string]any
		user    string // "": the token is refused
		groups  []string
	}{
		{name: "by its subject", user: "workload:repo:blumeops/app:ref:refs/heads/main"},
		{name: "by a name", rule: Rule{User: "forge", Groups: []string{"ci", "artifact-workloads", "ci"}}, user: "workload:forge", groups: []string{"artifact-workloads", "ci"}},
		{name: "by a name with the prefix", rule: Rule{User: "workload:forge"}, user: "workload:forge"},
		{name: "by claims", rule: Rule{User: "{claims.repository}@{claims.event_name}", Groups: []string{"owner {claims.repository_owner}"}}, user: "workload:blumeops/app@push", groups: []string{"owner blumeops"}},
		{name: "a claim that is a prefix", rule: Rule{User: "{claims.x}"}, changes: map[string]any{"x": "workload:x"}, user: "workload:workload:x"},

		// A token with an unintended name is refused.
		{name: "a claim that is missing", rule: Rule{User: "{claims.environment}"}},
		{name: "a claim that is empty", rule: Rule{User: "{claims.x}"}, changes: map[string]any{"x": ""}},
		{name: "a claim that is a number", rule: Rule{User: "{claims.run_number}"}},
		{name: "a claim that is a list", rule: Rule{Groups: []string{"ci-{claims.x}"}}, changes: map[string]any{"x": []string{"a", "admins"}}},
		{name: "a group that is missing", rule: Rule{Groups: []string{"ci-{claims.environment}"}}},
		{name: "a group with a comma", rule: Rule{Groups: []string{"ci-{claims.x}"}}, changes: map[string]any{"x": "a,admins"}},
		{name: "a group with a space", rule: Rule{Groups: []string{"ci-{claims.x}"}}, changes: map[string]any{"x": "a admins"}},
		{name: "a group with a line", rule: Rule{Groups: []string{"ci-{claims.x}"}}, changes: map[string]any{"x": "a\nadmins"}},
		{name: "a group with an invisible character", rule: Rule{Groups: []string{"ci-{claims.x}"}}, changes: map[string]any{"x": "a\u200badmins"}},
		{name: "a user with a line", rule: Rule{User: "{claims.x}"}, changes: map[string]any{"x": "a\radmins"}},
		{name: "a huge name", rule: Rule{User: "{claims.x}"}, changes: map[string]any{"x": strings.Repeat("a", maxName)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.rule.Audience = []string{audience}
			rule, err := row.rule.Compile(ours)
			if err != nil {
				t.Fatal(err)
			}
			who, err := rule.Who(claimsOf(t, row.changes))
			if row.user == "" {
				if !errors.Is(err, ErrToken) {
					t.Errorf("got %+v, %v, want it refused", who, err)
				}
				return
			}
			if err != nil || who.User != row.user || !slices.Equal(who.Groups, row.groups) {
				t.Errorf("got %+v, %v, want %s in %v", who, err, row.user, row.groups)
			}
			if want := "workload " + ours + " repo:blumeops/app:ref:refs/heads/main"; who.Credential != want {
				t.Errorf("got credential %q, want %q", who.Credential, want)
			}
		})
	}
}
