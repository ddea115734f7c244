package policies

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core/globs"
)

// parse makes a policy of the lines of a Caddyfile.
func parse(t testing.TB, lines ...string) *Rules {
	t.Helper()
	var rules []Rule
	for _, line := range lines {
		words := strings.Fields(line)
		rule, err := ParseRule(words[0] == "deny", words[1:])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if rule.String() != line {
			t.Errorf("%q is written %q", line, rule)
		}
		rule.Line = line
		rules = append(rules, rule)
	}
	return NewRules(rules...)
}

// tiers is the policy that the issue asks for.
var tiers = []string{
	"allow anonymous read fetch",
	"allow group artifact-workloads read fetch create",
	"allow group admins *",
}

func TestRules(t *testing.T) {
	reader := Identity{User: "eve"}
	workload := Identity{User: "zot-ci", Groups: []string{"artifact-workloads"}, Key: Key{"3f9c2a01b4d5", "ci"}}
	admin := Identity{User: "erich", Groups: []string{"people", "admins"}}
	labelled := func(label string) Identity { return Identity{User: "zot-ci", Key: Key{"0123456789ab", label}} }
	for _, row := range []struct {
		name   string
		policy []string
		who    Identity
		action Action
		repo   string
		want   string // the line that decides; empty: no line
	}{
		{"anybody reads", tiers, anonymous, Read, "team/app", tiers[0]},
		{"anonymous includes everybody", tiers, reader, Read, "team/app", tiers[0]},
		{"anonymous may not create", tiers, anonymous, Create, "team/app", ""},
		{"a workload creates", tiers, workload, Create, "team/app", tiers[1]},
		{"a workload may not update", tiers, workload, Update, "team/app", ""},
		{"a workload may not delete", tiers, workload, Delete, "team/app", ""},
		{"an admin does everything", tiers, admin, Delete, "team/app", tiers[2]},
		{"the asterisk does not include reveal", tiers, admin, Reveal, "docker.io/team/app", ""},
		{"an anonymous caller is in no group", tiers, Identity{Groups: []string{"admins"}}, Delete, "team/app", ""},

		{"signed_in is not anonymous", []string{"allow signed_in read"}, anonymous, Read, "a", ""},
		{"signed_in", []string{"allow signed_in read"}, reader, Read, "a", "allow signed_in read"},
		{"a user", []string{"allow user eve delete"}, reader, Delete, "a", "allow user eve delete"},
		{"another user", []string{"allow user eve delete"}, admin, Delete, "a", ""},
		{"a group that is called as a user", []string{"allow group eve delete"}, reader, Delete, "a", ""},
		{"a key by its label", []string{"allow key ci delete"}, workload, Delete, "a", "allow key ci delete"},
		{"a key by its id", []string{"allow key 3f9c2a01b4d5 delete"}, workload, Delete, "a", "allow key 3f9c2a01b4d5 delete"},
		{"a key by its id in capitals", []string{"allow key 3F9C2A01B4D5 delete"}, workload, Delete, "a", "allow key 3F9C2A01B4D5 delete"},
		{"another id", []string{"allow key 3f9c2a01b4d6 delete"}, workload, Delete, "a", ""},
		// IDs are not secret, and labels can be chosen freely.
		{"a label that is the id of another", []string{"allow key 3f9c2a01b4d5 delete"}, labelled("3f9c2a01b4d5"), Delete, "a", ""},
		{"a label that is an id in capitals", []string{"allow key 3F9C2A01B4D5 delete"}, labelled("3F9C2A01B4D5"), Delete, "a", ""},
		{"a label that looks like an id matches no rule", []string{"deny key 3F9C2A01B4D5 read", "allow anonymous read"}, labelled("3F9C2A01B4D5"), Read, "a", "allow anonymous read"},
		{"a label of 11 hexadecimal digits", []string{"allow key 3f9c2a01b4d delete"}, labelled("3f9c2a01b4d"), Delete, "a", "allow key 3f9c2a01b4d delete"},
		{"a label of 13 hexadecimal digits", []string{"allow key 3f9c2a01b4d55 delete"}, labelled("3f9c2a01b4d55"), Delete, "a", "allow key 3f9c2a01b4d55 delete"},
		{"an id that is short is a label", []string{"allow key 3f9c2a delete"}, Identity{User: "a", Key: Key{ID: "3f9c2a"}}, Delete, "a", ""},
		{"a label in another case", []string{"allow key ci delete"}, labelled("CI"), Delete, "a", ""},
		{"a label with a space behind it", []string{"allow key ci delete"}, labelled("ci "), Delete, "a", ""},
		{"a label with a Cyrillic letter", []string{"allow key ci delete"}, labelled("сi"), Delete, "a", ""},
		{"a label in wide letters", []string{"allow key ci delete"}, labelled("ｃｉ"), Delete, "a", ""},
		{"a key without a label", []string{"allow key ci delete"}, labelled(""), Delete, "a", ""},
		{"a user, group and credential that are called as the key", []string{"allow key ci delete"},
			Identity{User: "ci", Groups: []string{"ci"}, Credential: "key ci", Key: Key{ID: "0123456789ab"}}, Delete, "a", ""},
		{"no key", []string{"allow key ci delete"}, admin, Delete, "a", ""},

		{"on its names", []string{"allow anonymous read on team/**"}, anonymous, Read, "team/app", "allow anonymous read on team/**"},
		{"on the root of its names", []string{"allow anonymous read on team/**"}, anonymous, Read, "team", "allow anonymous read on team/**"},
		{"on other names", []string{"allow anonymous read on team/**"}, anonymous, Read, "teams/app", ""},
		{"on the second of its names", []string{"allow anonymous read on a b"}, anonymous, Read, "b", "allow anonymous read on a b"},
		// No pattern hides another.
		{"a narrow rule beside a wide one", []string{"allow anonymous read on team/**", "allow anonymous create on team/app"}, anonymous, Read, "team/app", "allow anonymous read on team/**"},

		// Denied actions stay denied, wherever the line stands.
		{"deny before allow", []string{"deny user eve read", "allow anonymous read"}, reader, Read, "a", "deny user eve read"},
		{"deny behind allow", []string{"allow anonymous read", "deny user eve read"}, reader, Read, "a", "deny user eve read"},
		{"deny of somebody else", []string{"allow anonymous read", "deny user eve read"}, admin, Read, "a", "allow anonymous read"},
		{"deny of anonymous is for callers without an identity", []string{"allow anonymous read", "deny anonymous read"}, anonymous, Read, "a", "deny anonymous read"},
		{"deny of anonymous is not for others", []string{"allow anonymous read", "deny anonymous read"}, reader, Read, "a", "allow anonymous read"},
		{"deny of signed_in is for all others", []string{"allow anonymous read", "deny signed_in read"}, reader, Read, "a", "deny signed_in read"},
		{"deny of signed_in is not for anonymous", []string{"allow anonymous read", "deny signed_in read"}, anonymous, Read, "a", "allow anonymous read"},
		{"deny elsewhere", []string{"allow anonymous read", "deny anonymous read on secret/**"}, anonymous, Read, "a", "allow anonymous read"},
		{"deny of another action", []string{"allow anonymous read", "deny anonymous create"}, anonymous, Read, "a", "allow anonymous read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rules := parse(t, row.policy...)
			allowed, rule := rules.Explain(row.who, row.action, row.repo)
			line := ""
			if rule != nil {
				line = rule.Line
			}
			if want := strings.HasPrefix(row.want, "allow"); line != row.want || allowed != want {
				t.Errorf("got %v by %q, want %v by %q", allowed, line, want, row.want)
			}
			if got := rules.Allows(row.who, row.action, row.repo); got != allowed {
				t.Errorf("Allows says %v, Explain %v", got, allowed)
			}
		})
	}
}

// Pages and the API ask whether somebody is an admin of the registry itself, which is not
// a repository: every right in a part of it is not enough.
func TestTheRegistryItselfIsNoRepository(t *testing.T) {
	who := Identity{User: "erich", Groups: []string{"ops"}}
	for line, want := range map[string]bool{
		"allow group ops *": true, "allow group ops admin": true, "allow group ops * on **": true,
		"allow group ops * on team/**": false, "allow group ops * on *": false, "allow group ops * on */**": false,
		"allow group other *": false,
	} {
		if got := parse(t, line).Allows(who, Admin, ""); got != want {
			t.Errorf("%s: got %v", line, got)
		}
	}
	// An action that is denied on a part is not denied everywhere; one that is denied
	// everywhere is.
	for line, want := range map[string]bool{"deny group ops * on *": true, "deny group ops *": false, "deny group ops admin": false} {
		if got := parse(t, "allow group ops *", line).Allows(who, Admin, ""); got != want {
			t.Errorf("%s: got %v", line, got)
		}
	}
	who.Narrow = &Narrowing{On: globs.Globs{"*"}}
	if parse(t, "allow group ops *").Allows(who, Admin, "") {
		t.Error("a credential that is narrowed to repositories is good for the registry")
	}
}

func TestRulesApplyTheNarrowing(t *testing.T) {
	who := Identity{User: "ci", Groups: []string{"admins"}, Narrow: &Narrowing{Actions: []Action{Read, Create}, On: globs.Globs{"team/**"}}}
	rules := parse(t, tiers...)
	for _, row := range []struct {
		action Action
		repo   string
		want   bool
	}{{Create, "team/app", true}, {Update, "team/app", false}, {Read, "other", false}} {
		if got := rules.Allows(who, row.action, row.repo); got != row.want {
			t.Errorf("%s in %s: got %v", row.action, row.repo, got)
		}
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                         "who?",
		"everybody read":           `unknown subject "everybody"`,
		"group":                    "which group?",
		"user":                     "which user?",
		"anonymous":                "which actions?",
		"anonymous on team/**":     "which actions?",
		"anonymous push":           `unknown action "push"`,
		"anonymous reveal":         `unknown action "reveal"`,
		"anonymous read *":         `unknown action "*"`,
		"anonymous read on":        "on which repositories?",
		"anonymous read on team/[": `"team/["`,
	} {
		if _, err := ParseRule(false, strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want it to say %s", line, err, want)
		}
	}
}

func TestCheckRefusesWhatCanNeverMatch(t *testing.T) {
	mirrors := []string{"docker.io", "ghcr.io"}
	team := Names{Private: globs.Globs{"team/**", "tools/*"}, Mirrors: mirrors}
	open := Names{Mirrors: mirrors}
	for _, row := range []struct {
		name  string
		names Names
		line  string
		want  string
	}{
		{"everywhere", team, "anonymous read", ""},
		{"a private name", team, "anonymous read on team/app", ""},
		{"a part of the private names", team, "anonymous read on */app", ""},
		{"a mirror", team, "anonymous read fetch on docker.io/library/*", ""},
		{"nobody's name", team, "anonymous read on other/**", `"other/**"`},
		{"an empty name behind a good one", team, "anonymous read on team/** other/**", `"other/**"`},
		{"deeper than the private names", team, "anonymous read on tools/a/b", `"tools/a/b"`},
		{"every name is private", open, "anonymous create on other/**", ""},
		{"an impossible name", open, "anonymous read on Team/**", `"Team/**"`},
		{"a push to a mirror", open, "group ci read create on docker.io/**", "create"},
		{"an overwrite on a mirror", team, "group ci update on ghcr.io/team/*", "update"},
		{"a push to a mirror and elsewhere", team, "group ci create on docker.io/** team/**", ""},
		{"everything on a mirror", team, "group admins * on docker.io/**", ""},
		{"a group that nobody has", team, "group nobody read", ""},
		{"the registry's care on a part of it", team, "group ops admin on team/**", "admin"},
		{"the registry's care on all of it", team, "group ops admin on **", ""},
		{"the registry's care everywhere", team, "group ops admin", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			rule, err := ParseRule(false, strings.Fields(row.line))
			if err != nil {
				t.Fatal(err)
			}
			err = row.names.Check(rule)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got error %v, want it to name %q", err, row.want)
			}
		})
	}
}

// The documented meaning, written as slowly as it reads.
func naive(rules []Rule, who Identity, action Action, repo string) bool {
	holds := func(r Rule) bool {
		return slices.Contains(r.Actions, action) && (len(r.On) == 0 || r.On.Match(repo))
	}
	is := func(s string) bool {
		word, name, _ := strings.Cut(s, " ")
		switch word {
		case "signed_in":
			return who.User != ""
		case "user":
			return who.User == name
		case "group":
			return who.User != "" && slices.Contains(who.Groups, name)
		case "key":
			if hexadecimal := regexp.MustCompile("^[0-9a-fA-F]{12}$"); hexadecimal.MatchString(name) {
				return who.Key.ID == strings.ToLower(name)
			}
			return who.Key.Label == name
		}
		return who.User == ""
	}
	for _, r := range rules {
		if r.Deny && holds(r) && is(r.Who.String()) {
			return false
		}
	}
	for _, r := range rules {
		if !r.Deny && holds(r) && (r.Who.String() == "anonymous" || is(r.Who.String())) {
			return true
		}
	}
	return false
}

func TestRulesAreWhatIsDocumented(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b"})
	ids := rapid.SampledFrom([]string{"a", "0123456789ab", "0123456789abc", "0123456789a"})
	actions := rapid.SampledFrom(Actions)
	repos := rapid.SampledFrom([]string{"a", "b", "a/b", "a/b/c", "b/a"})
	patterns := rapid.SampledFrom([]string{"**", "a/**", "*", "*/b", "a", "b/*"})
	rule := rapid.Custom(func(t *rapid.T) Rule {
		kind := subjectKind(rapid.IntRange(0, int(key)).Draw(t, "kind"))
		r := Rule{Deny: rapid.IntRange(0, 3).Draw(t, "deny") == 0, Who: Subject{kind: kind}}
		if kind > signedIn {
			r.Who.name = names.Draw(t, "name")
			if kind == key {
				r.Who.name = ids.Draw(t, "key")
			}
		}
		r.Actions = rapid.SliceOfN(actions, 1, 3).Draw(t, "actions")
		r.On = rapid.SliceOfN(patterns, 0, 2).Draw(t, "on")
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rule, 0, 5).Draw(t, "rules")
		var who Identity
		if rapid.Bool().Draw(t, "known") {
			who = Identity{User: names.Draw(t, "user"), Groups: rapid.SliceOfN(names, 0, 2).Draw(t, "groups")}
			if rapid.Bool().Draw(t, "by key") {
				who.Key = Key{ID: ids.Draw(t, "id"), Label: ids.Draw(t, "label")}
			}
		}
		action, repo := actions.Draw(t, "action"), repos.Draw(t, "repo")
		if got, want := NewRules(rules...).Allows(who, action, repo), naive(rules, who, action, repo); got != want {
			t.Errorf("%+v: %s %s in %s: got %v, want %v", rules, who, action, repo, got, want)
		}
	})
}

// manyRules is a policy as a large team might have it.
func manyRules(t testing.TB) (*Rules, Identity) {
	lines := slices.Clone(tiers)
	for _, team := range []string{"red", "green", "blue", "black", "white"} {
		lines = append(lines, "allow group "+team+" read create update on "+team+"/**", "deny anonymous read on "+team+"/secret/**")
	}
	return parse(t, lines...), Identity{User: "ci", Groups: []string{"people", "white"}}
}

func TestRulesAllocateNothing(t *testing.T) {
	rules, who := manyRules(t)
	if got := testing.AllocsPerRun(100, func() { rules.Allows(who, Update, "white/team/app") }); got != 0 {
		t.Errorf("got %v allocations a decision, want none", got)
	}
}

func BenchmarkRules(b *testing.B) {
	for name, lines := range map[string]bool{"three tiers": false, "thirteen rules": true} {
		b.Run(name, func(b *testing.B) {
			rules, who := manyRules(b)
			if !lines {
				rules = parse(b, tiers...)
			}
			b.ReportAllocs()
			for b.Loop() {
				rules.Allows(who, Read, "white/team/app")
			}
		})
	}
}
