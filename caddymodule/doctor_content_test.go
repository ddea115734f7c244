package caddymodule

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
)

// doctorFinds is a finding of the command `registry doctor` on a storage.
func doctorFinds(t *testing.T, storage, check string) doctor.Finding {
	t.Helper()
	out, err := commandOutput(t, "registry", "doctor", "--json", "--storage", storage)
	var report doctor.Report
	if failed := json.Unmarshal(out, &report); failed != nil {
		t.Fatalf("%s: %v, %v", out, failed, err)
	}
	i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == check })
	if i < 0 {
		t.Fatalf("nothing of %s in %s", check, out)
	}
	return report.Findings[i]
}

func TestDoctorNamesKeysThatEndAndWhatIsInQuarantine(t *testing.T) {
	storage, port := t.TempDir(), freePort(t)
	load(t, site(port, storage, allowAll, ""))
	r := at(t, port)
	if got := doctorFinds(t, storage, "keys"); got.Level != doctor.OK || !strings.Contains(got.Text, "no key expires") {
		t.Errorf("without keys: got %+v", got)
	}
	if out, err := commandOutput(t, "registry", "key", "create", "--storage", storage, "--user", "ci", "--group", "ci", "--name", "soon", "--expires", "2d"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if got := doctorFinds(t, storage, "keys"); got.Level != doctor.Warn || !strings.Contains(got.Text, `("soon" of ci) at 20`) {
		t.Errorf("with a key that ends: got %+v", got)
	}

	if got := doctorFinds(t, storage, "content"); got.Level != doctor.OK || !strings.Contains(got.Text, "never verified") {
		t.Errorf("before a verification: got %+v", got)
	}
	content := randomBytes(1000)
	r.pushImage("team/app", "v1", content)
	d := digest.FromBytes(content)
	path := filepath.Join(storage, "private", "objects", "blobs", "sha256", d.Encoded()[:2], d.Encoded())
	rewrite(t, path, func(data []byte) []byte { data[0] ^= 1; return data })
	if out, err := commandOutput(t, "registry", "verify", "--repair", "--storage", storage); !strings.Contains(string(out), d.String()) {
		t.Fatalf("verify: %v: %s", err, out)
	}
	if got := doctorFinds(t, storage, "content"); got.Level != doctor.Warn || !strings.Contains(got.Text, "objects in quarantine: 1 (1000 B)") {
		t.Errorf("with something in quarantine: got %+v", got)
	}
	r.want(http.StatusNotFound, "GET", "/v2/team/app/blobs/"+d.String(), nil)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the damaged file is where it was: %v", err)
	}
}
