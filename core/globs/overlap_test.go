package globs

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOverlap(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"team/**", "team/app", true},
		{"team/**", "team", true},
		{"team/*", "team", false},
		{"team/**", "teams/app", false},
		{"**", "anything/at/all", true},
		{"**/app", "team/*", true},
		{"**/app", "app", true},
		{"a/**/z", "*/b/*", true},
		{"a/**/z", "*/b/y", false},
		{"a*", "*b", true},
		{"a*c", "ab*", true},
		{"a*c", "b*", false},
		{"a?", "ab", true},
		{"a?", "a", false},
		{"team-[ab]", "team-[b-d]", true},
		{"team-[ab]", "team-[^a-c]", false},
		{"{a,b}/**", "b/c", true},
		{"{a,b}/**", "c/**", false},
		{"a{,/b}", "a/*", true},
		// A pattern that no name can match overlaps with none.
		{"Team/**", "**", false},
		{"Team/**", "*/app", false},
	} {
		if got := Overlap(row.a, row.b); got != row.want {
			t.Errorf("%s and %s: got %v, want %v", row.a, row.b, got, row.want)
		}
		if got := Overlap(row.b, row.a); got != row.want {
			t.Errorf("%s and %s: got %v, want %v", row.b, row.a, got, row.want)
		}
	}
}

func TestWithin(t *testing.T) {
	for pattern, want := range map[string]bool{
		"docker.io": true, "docker.io/**": true, "docker.io/{a,b}/*": true,
		"**": false, "*/app": false, "docker.iox/a": false, "{docker.io,team}/**": false,
	} {
		if got := Within(pattern, "docker.io"); got != want {
			t.Errorf("%s: got %v, want %v", pattern, got, want)
		}
	}
}

// everyName has all names of up to three components of up to three letters out of a
// and b. Patterns of the test that meet at all meet in one of them.
func everyName() []string {
	components := []string{"a", "b", "aa", "ab", "ba", "bb", "aaa", "aab", "aba", "abb", "baa", "bab", "bba", "bbb"}
	names, level := []string{}, []string{""}
	for range 3 {
		var next []string
		for _, prefix := range level {
			for _, c := range components {
				next = append(next, strings.TrimPrefix(prefix+"/"+c, "/"))
			}
		}
		names, level = append(names, next...), next
	}
	return names
}

func TestOverlapIsWhatNamesSay(t *testing.T) {
	all := everyName()
	component := rapid.SampledFrom([]string{"a", "b", "*", "**", "a*", "*b", "?", "a?", "*a*", "[ab]", "[^a]", "ab", "{a,b*}"})
	pattern := rapid.Custom(func(t *rapid.T) string {
		joined := strings.Join(rapid.SliceOfN(component, 1, 3).Draw(t, "components"), "/")
		return strings.ReplaceAll(joined, "**/**", "**/a") // is not a pattern of ours
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := pattern.Draw(t, "a"), pattern.Draw(t, "b")
		var witness string
		for _, name := range all {
			if (Globs{a}).Match(name) && (Globs{b}).Match(name) {
				witness = name
				break
			}
		}
		if got := Overlap(a, b); got != (witness != "") {
			t.Errorf("%s and %s: got %v, but the name that both match is %q", a, b, got, witness)
		}
	})
}

func FuzzGlobs(f *testing.F) {
	for _, p := range []string{"team/**", "{a,b}/*", "team-[ab]", `a\*`, "[a", "{a", "[]a]", "[^]]", "a{,/b}", "{{a,b},c}", "[a-]", `\/0`, "[a/b]", "[[/]"} {
		f.Add(p, "team/app")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || strings.Count(pattern, "{") > 5 || strings.Count(pattern, "*") > 10 {
			return // a configuration is not an attack
		}
		globs, err := Parse(pattern)
		if err != nil {
			return
		}
		globs.Match(name)
		Overlap(pattern, "**")
		if !Overlap(pattern, "team/**") && globs.Match("team/app") {
			t.Errorf("%s matches team/app, but is said not to overlap team/**", pattern)
		}
	})
}
