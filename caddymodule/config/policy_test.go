package config

import (
	"strings"
	"testing"
)

// Groups and keys with a space in their names come through the JSON as they were.
func TestRulesComeBackFromJSON(t *testing.T) {
	for _, words := range [][]string{
		{"group", "authentik Admins", "*"}, {"key", "on", "read", "on", "a"}, {"anonymous", "read", "fetch"}, {"user", "*", "*", "on", "a", "b"},
	} {
		rule, err := unmarshalRule(false, words)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := rule.parse(false)
		if err != nil || parsed.String() != "allow "+strings.Join(words, " ") {
			t.Errorf("%q came back as %q, %v", words, parsed, err)
		}
	}
}
