package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// The parts beside the storage are examined, and no secret is shown. The exit status
// follows from the findings.
func TestDoctorLooksAtTheCacheAndTheSignIn(t *testing.T) {
	const password = "hunter2 that nobody may see"
	t.Setenv("DOCTOR_TEST_PASSWORD", password)
	server := miniredis.RunT(t)
	server.RequireAuth(password)
	fake := oidctest.New(t, "registry")
	here := fmt.Sprintf("cache redis {\naddress %s\npassword {env.DOCTOR_TEST_PASSWORD}\n}", server.Addr())
	signIn := func(issuer string) string {
		return fmt.Sprintf("url http://127.0.0.1:5050\noidc {\nissuer %s\nclient_id registry\n"+
			"client_secret {env.DOCTOR_TEST_PASSWORD}\n}", issuer)
	}
	jobs := func(issuer string) string {
		return fmt.Sprintf("trusted_issuer %s {\naudience registry\nclaim sub *\n}", issuer)
	}
	for _, row := range []struct {
		name, oci, check string
		ok               bool
		text             string
	}{
		{"no cache", "", "cache", true, "in memory, 256 MiB at most"},
		{"a Redis without an address", "cache redis {\naddress {$DOCTOR_TEST_UNSET:}\n}", "cache", true, "no address"},
		{"a Redis", here, "cache", true, "can be written and read"},
		{"a Redis that wants a password", fmt.Sprintf("cache redis {\naddress %s\n}", server.Addr()), "cache", false,
			"check user and password"},
		{"a Redis that is gone", "cache redis {\naddress 127.0.0.1:1\n}", "cache", false,
			"until then the cache is in memory alone"},
		{"a secret that is not there", "cache redis {\naddress a\npassword {env.DOCTOR_TEST_UNSET}\n}", "cache", false,
			"DOCTOR_TEST_UNSET"},
		{"a provider", signIn(fake.Issuer), "sign-in", true,
			"must have the redirect URI http://127.0.0.1:5050/oidc/callback"},
		{"a provider without refresh tokens", signIn(fake.Issuer), "sign-in", true,
			"groups are those of the last sign-in"},
		{"an issuer without its slash", signIn(strings.TrimSuffix(fake.Issuer, "/")), "sign-in", false,
			"to the last slash"},
		{"a trusted issuer", jobs(fake.Issuer), "trusted issuer " + fake.Issuer, true, "1 of its keys can be used"},
		{"a trusted issuer that is gone", jobs("http://127.0.0.1:1/"), "trusted issuer http://127.0.0.1:1/", false,
			"until it can be asked"},
		{"an issuer that is gone", signIn("http://127.0.0.1:1/"), "sign-in", false, "cannot be reached"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(config,
				[]byte(registrytest.Caddyfile(registrytest.FreePort(t), emptyStorage(t), "min_free 1\n"+row.oci, "")),
				0o600); err != nil {
				t.Fatal(err)
			}
			out, told, status := registrytest.Run(t, "doctor", "--json", "--config", config)
			var report doctor.Report
			if json.Unmarshal([]byte(out), &report) != nil || (status == registrytest.Done) != row.ok ||
				report.OK != row.ok {
				t.Fatalf("got status %d: %s: %s", status, out, told)
			}
			i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == row.check })
			if i < 0 || (report.Findings[i].Level != doctor.Fail) != row.ok ||
				!strings.Contains(report.Findings[i].Text, row.text) {
				t.Errorf("got %s", out)
			}
			if strings.Contains(told, `"level":"info"`) {
				t.Errorf("the standard error has other text than errors: %s", told)
			}
			if all := out + told; strings.Contains(all, "hunter2") {
				t.Errorf("it tells the secret: %s", all)
			}
		})
	}
}
