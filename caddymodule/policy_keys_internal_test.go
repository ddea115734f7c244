package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

func TestRulesAboutKeysThatThereAreNot(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	valid := now.Add(time.Hour)
	keys := []identity.Key{
		{ID: "00000000000a", Name: "ci", User: "robot", Service: true, By: control.ByCommand, Expires: valid},
		{ID: "00000000000b", Name: "laptop", User: "ada", By: "ada", Expires: valid},
		{ID: "00000000000c", Name: "old", User: "robot", Service: true, By: control.ByCommand, Expires: now},
		{ID: "00000000000d", Name: "gone", User: "robot", Service: true, By: control.ByCommand, Expires: valid,
			Revoked: now},
		{ID: "00000000000e", Name: "own", User: "erich", Service: true, By: "erich", Expires: valid},
	}
	for _, row := range []struct{ line, want string }{
		{"anonymous read", ""},
		{"user laptop read", ""},
		{"key ci read", ""},
		{"key 00000000000a read", ""},
		{"key 00000000000B read", ""},
		{"key laptop read", "people made for themselves"},
		{"key own read", "people made for themselves"},
		{"key old read", "no valid key of a service account"},
		{"key gone read", "no valid key of a service account"},
		{"key CI read", "no valid key of a service account"},
		{"key 00000000000c read", "no valid key has the ID"},
		{"key 00000000000f read", "no valid key has the ID"},
	} {
		for _, deny := range []bool{false, true} {
			rule, err := policies.ParseRule(deny, strings.Fields(row.line))
			if err != nil {
				t.Fatal(err)
			}
			why := ""
			for _, idle := range idleRules(keyRules([]policies.Rule{rule}), keys, now) {
				why += idle.why
			}
			if row.want == "" && why != "" || !strings.Contains(why, row.want) {
				t.Errorf("%s: got %q, want it to say %q", row.line, why, row.want)
			}
		}
	}
}
