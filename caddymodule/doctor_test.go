package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
)

// examine runs `registry doctor --json` and returns the report, what was printed on the
// standard output, and the exit status.
func examine(t *testing.T, args ...string) (report doctor.Report, out string, status int) {
	t.Helper()
	out, told, status := runRegistry(t, append([]string{"doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%s: %v: %s", out, err, told)
	}
	return report, out, status
}

func TestDoctorLooksAtTheStorage(t *testing.T) {
	storage, port := t.TempDir(), freePort(t)
	running := "is in use by process"
	load(t, site(port, storage, allowAll, ""))
	at(t, port).want(200, "GET", "/v2/_catalog", nil) // it is open
	for _, row := range []struct {
		name   string
		args   string
		status int
		check  string
		ok     bool
		text   string
	}{
		{"a running registry", "--storage " + storage, statusDone, "storage", true, running},
		{"a storage that is not there", "--storage " + storage + "/no", statusFailed, "storage", false, "there is no storage"},
		{"the disk", "--storage " + storage, statusDone, "disk", true, "are free"},
	} {
		t.Run(row.name, func(t *testing.T) {
			report, out, status := examine(t, strings.Fields(row.args)...)
			i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == row.check })
			if status != row.status || report.OK != (status == 0) || i < 0 || (report.Findings[i].Level == doctor.OK) != row.ok || !strings.Contains(report.Findings[i].Text, row.text) {
				t.Errorf("got status %d and %s", status, out)
			}
		})
	}
	if out, _, status := runRegistry(t, "doctor", "now"); status != statusMisuse {
		t.Errorf("an argument too many: got status %d, %s", status, out)
	}
}
