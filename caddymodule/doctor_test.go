package caddymodule_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// examine runs `registry doctor --json` and returns the report, what was printed on the
// standard output, and the exit status.
func examine(t *testing.T, args ...string) (report doctor.Report, out string, status int) {
	t.Helper()
	out, told, status := registrytest.Run(t, append([]string{"doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%s: %v: %s", out, err, told)
	}
	return report, out, status
}

func TestDoctorLooksAtTheStorage(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	running := "is in use by process"
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	registrytest.At(t, port).Want(200, "GET", "/v2/_catalog", nil) // it is open
	for _, row := range []struct {
		name   string
		args   string
		status int
		check  string
		ok     bool
		text   string
	}{
		{"a running registry", "--storage " + storage, registrytest.Done, "storage", true, running},
		{"a storage that is not there", "--storage " + storage + "/no", registrytest.Failed, "storage", false,
			"there is no storage"},
		{"the disk", "--storage " + storage, registrytest.Done, "disk", true, "are free"},
	} {
		t.Run(row.name, func(t *testing.T) {
			report, out, status := examine(t, strings.Fields(row.args)...)
			i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == row.check })
			if status != row.status || report.OK != (status == 0) || i < 0 ||
				(report.Findings[i].Level == doctor.OK) != row.ok ||
				!strings.Contains(report.Findings[i].Text, row.text) {
				t.Errorf("got status %d and %s", status, out)
			}
		})
	}
	if out, _, status := registrytest.Run(t, "doctor", "now"); status != registrytest.Misuse {
		t.Errorf("an argument too many: got status %d, %s", status, out)
	}
}
