package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
)

func TestReport(t *testing.T) {
	check := func(name, text string, err error) doctor.Check {
		return doctor.Check{Name: name, Run: func(context.Context) (string, error) { return text, err }}
	}
	well := []doctor.Check{check("storage", "in use", nil), check("disk", "", fmt.Errorf("disk: %w", doctor.Warnf("no %s", "journal")))}
	for _, row := range []struct {
		name   string
		checks []doctor.Check
		json   string
		print  string
	}{
		{"warnings are no failure", well,
			`{"ok":true,"summary":{"ok":1,"warn":1,"fail":0},"findings":[{"check":"storage","level":"ok","text":"in use"},{"check":"disk","level":"warn","text":"disk: no journal"}]}`,
			"ok    storage: in use\nwarn  disk: disk: no journal\n\n1 ok, 1 warning, 0 failures\n"},
		{"a failure", append(well, check("cache", "", errors.New("gone"))),
			`{"ok":false,"summary":{"ok":1,"warn":1,"fail":1},"findings":[{"check":"storage","level":"ok","text":"in use"},{"check":"disk","level":"warn","text":"disk: no journal"},{"check":"cache","level":"fail","text":"gone"}]}`,
			"ok    storage: in use\nwarn  disk: disk: no journal\nfail  cache: gone\n\n1 ok, 1 warning, 1 failure\n"},
		{"nothing to check", nil, `{"ok":true,"summary":{"ok":0,"warn":0,"fail":0},"findings":[]}`, "\n0 ok, 0 warnings, 0 failures\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			report := doctor.Examine(t.Context(), row.checks)
			if got, err := json.Marshal(report); err != nil || string(got) != row.json {
				t.Errorf("got %s, %v, want %s", got, err, row.json)
			}
			var out strings.Builder
			if err := report.Print(&out); err != nil || out.String() != row.print {
				t.Errorf("got %q, %v, want %q", out.String(), err, row.print)
			}
		})
	}
}
