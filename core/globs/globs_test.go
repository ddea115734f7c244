package globs

import (
	"errors"
	"testing"
)

func TestParse(t *testing.T) {
	for _, good := range []string{"team/app", "team/*", "team/**", "**", "a/**/b", "team-[ab]/*", "{a,b}/**"} {
		if _, err := Parse("first", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/team", "team/", "team/[a", "{a", "a/**/**", `a\/b`, "[a/b]"} {
		if _, err := Parse("first", bad); !errors.Is(err, errGlob) {
			t.Errorf("%q: got error %v, want it refused", bad, err)
		}
	}
}

func TestGlobsMatch(t *testing.T) {
	for _, row := range []struct {
		glob, name string
		want       bool
	}{
		{"team/*", "team/app", true},
		{"team/*", "team/app/cache", false},
		{"team/**", "team/app/cache", true},
		{"team/**", "team", true},
		{"team/**", "teams", false},
		{"team*/**", "team", true},
		{"{team,tools}/**", "tools", true},
		{"**", "anything/at/all", true},
		{"team/app", "team/app2", false},
	} {
		if got := (Globs{row.glob}).Match(row.name); got != row.want {
			t.Errorf("%s matches %s: got %v, want %v", row.glob, row.name, got, row.want)
		}
	}
}
