package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// doctorFinds is a finding of the command `registry doctor` on a storage.
func doctorFinds(t *testing.T, storage, check string) doctor.Finding {
	t.Helper()
	report, out, _ := examine(t, "--storage", storage)
	i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == check })
	if i < 0 {
		t.Fatalf("nothing of %s in %s", check, out)
	}
	return report.Findings[i]
}

func TestDoctorNamesKeysThatEndAndWhatIsInQuarantine(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	if got := doctorFinds(t, storage, "keys"); got.Level != doctor.OK || !strings.Contains(got.Text, "no key expires") {
		t.Errorf("without keys: got %+v", got)
	}
	create := []string{"key", "create", "--storage", storage, "--user", "ci", "--group", "ci", "--name", "soon",
		"--expires", "2d"}
	if _, told, status := registrytest.Run(t, create...); status != registrytest.Done {
		t.Fatal(told)
	}
	if got := doctorFinds(t, storage, "keys"); got.Level != doctor.Warn ||
		!strings.Contains(got.Text, `("soon" of ci) at 20`) {
		t.Errorf("with a key that ends: got %+v", got)
	}

	if got := doctorFinds(t, storage, "content"); got.Level != doctor.OK ||
		!strings.Contains(got.Text, "never verified") {
		t.Errorf("before a verification: got %+v", got)
	}
	content := registrytest.RandomBytes(1000)
	r.PushImage("team/app", "v1", content)
	d := digest.FromBytes(content)
	path := filepath.Join(storage, "private", "objects", "blobs", "sha256", d.Encoded()[:2], d.Encoded())
	rewrite(t, path, func(data []byte) []byte { data[0] ^= 1; return data })
	if out, told, _ := registrytest.Run(t, "verify", "--repair", "--storage",
		storage); !strings.Contains(out, d.String()) {
		t.Fatalf("verify: %s%s", out, told)
	}
	if got := doctorFinds(t, storage, "content"); got.Level != doctor.Warn ||
		!strings.Contains(got.Text, "objects in quarantine: 1 (1000 B), "+d.String()) {
		t.Errorf("with something in quarantine: got %+v", got)
	}
	r.Want(http.StatusNotFound, "GET", "/v2/team/app/blobs/"+d.String(), nil)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the damaged file is where it was: %v", err)
	}
}

// shownDamage is how many damaged records a finding names.
const shownDamage = 5

func TestDoctorNamesDamagedRecords(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	for i := range shownDamage + 3 {
		r.PushImage("team/app", fmt.Sprint("v", i), []byte("content"))
	}
	if got := doctorFinds(t, storage, "records"); got.Level != doctor.OK ||
		got.Text != fmt.Sprint(shownDamage+4, " records of tags, referrers and manifests are in good order") {
		t.Errorf("with whole records: got %+v", got)
	}
	record := func(tag string) string {
		return filepath.Join(storage, "private", "objects", "repos", "team", "app", "_tags", tag)
	}
	rewrite(t, record("v1"), func(data []byte) []byte { return data[:len(data)/2] })
	got := doctorFinds(t, storage, "records")
	if got.Level != doctor.Fail || !strings.Contains(got.Text, "(private): 1: ") ||
		!strings.Contains(got.Text, "team/app/_tags/v1") {
		t.Errorf("with a damaged tag: got %+v", got)
	}
	// The record of a manifest. The manifest says its type itself, so pulls go on.
	manifests, err := filepath.Glob(filepath.Join(storage, "private", "objects", "manifests", "sha256", "*", "*"))
	if err != nil || len(manifests) != 1 {
		t.Fatalf("got manifests %q, %v", manifests, err)
	}
	var intact []byte
	rewrite(t, manifests[0], func(data []byte) []byte { intact = data; return []byte(`{"since":`) })
	got = doctorFinds(t, storage, "records")
	if got.Level != doctor.Fail || !strings.Contains(got.Text, "(private): 2: ") ||
		!strings.Contains(got.Text, filepath.Base(manifests[0])+" is damaged") {
		t.Errorf("with a damaged record of a manifest: got %+v", got)
	}
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v0", nil)
	rewrite(t, manifests[0], func([]byte) []byte { return intact })
	if got := doctorFinds(t, storage, "records"); !strings.Contains(got.Text, "(private): 1: ") ||
		strings.Contains(got.Text, filepath.Base(manifests[0])) {
		t.Errorf("with the record of the manifest as it was: got %+v", got)
	}
	// A tag that names what is not there, as after a backup in the wrong order.
	rewrite(t, record("v2"), func(data []byte) []byte {
		return regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAll(data, []byte(digest.FromString("another")))
	})
	if got := doctorFinds(t, storage, "records"); !strings.Contains(got.Text,
		"tag team/app:v2 names the manifest "+digest.FromString("another").String()) {
		t.Errorf("with a tag of nothing: got %+v", got)
	}
	for i := range shownDamage + 3 {
		rewrite(t, record(fmt.Sprint("v", i)), func([]byte) []byte { return nil })
	}
	if got := doctorFinds(t, storage, "records"); !strings.Contains(got.Text, "and 3 more") ||
		strings.Count(got.Text, "/_tags/") != shownDamage {
		t.Errorf("with more than are named: got %+v", got)
	}
}
