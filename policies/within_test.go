package policies

import (
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/globs"
)

func TestMayWithin(t *testing.T) {
	known := Identity{User: "ada", Groups: []string{"people"}}
	for _, row := range []struct {
		name  string
		rules []string
		who   Identity
		want  bool
	}{
		{"no rule", nil, known, false},
		{"everywhere", []string{"allow anonymous read"}, Identity{}, true},
		{"somewhere in it", []string{"allow anonymous read on docker.io/library/*"}, Identity{}, true},
		{"elsewhere", []string{"allow anonymous read on ghcr.io/**"}, Identity{}, false},
		{"another action", []string{"allow anonymous fetch"}, Identity{}, false},
		{"others", []string{"allow group people read"}, Identity{}, false},
		{"a member", []string{"allow group people read"}, known, true},
		{"denied everywhere", []string{"allow anonymous read", "deny user ada read"}, known, false},
		{"denied in it", []string{"allow anonymous read", "deny user ada read on docker.io/**"}, known, false},
		{"denied in a part of it", []string{"allow anonymous read", "deny user ada read on docker.io/secret/**"}, known, true},
		{"others are denied", []string{"allow anonymous read", "deny anonymous read"}, known, true},
		{"by a key for elsewhere", []string{"allow anonymous read"}, Identity{User: "ada", Narrow: &Narrowing{On: globs.Globs{"team/**"}}}, false},
		{"by a key for something else", []string{"allow anonymous read"}, Identity{User: "ada", Narrow: &Narrowing{Actions: []Action{Create}}}, false},
		{"by a key for it", []string{"allow anonymous read"}, Identity{User: "ada", Narrow: &Narrowing{Actions: []Action{Read}, On: globs.Globs{"docker.io/**"}}}, true},
	} {
		var rules []Rule
		for _, text := range row.rules {
			words := strings.Fields(text)
			rule, err := ParseRule(words[0] == "deny", words[1:])
			if err != nil {
				t.Fatal(err)
			}
			rules = append(rules, rule)
		}
		if got := NewRules(rules...).MayWithin(row.who, Read, "docker.io/**"); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}
