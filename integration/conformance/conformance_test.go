// Package conformance runs the OCI distribution conformance suite against the built
// binary. The suite is a separate program at a fixed version (tools/go.txt); these tests read
// its report, because it exits 0 even if it skipped a test.
package conformance

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// overTLS serves with a certificate of Caddy's local authority, which is not
// installed into the machine's trust.
const overTLS = `{
	skip_install_trust
	auto_https disable_redirects
	oci {
		storage file {$REGISTRY_DATA}
		policy {
			allow anonymous *
		}
	}
}

https://127.0.0.1:{$REGISTRY_PORT} {
	tls internal
	oci_registry
}
`

// tiers lets only callers with a key write.
const tiers = `{
	oci {
		storage file {$REGISTRY_DATA}
		policy {
			allow anonymous read fetch
			allow group admins *
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	oci_registry
}
`

// leastTests is fewer than the suite has in any version, and many more than it
// counts when it could not reach the registry.
const leastTests = 500

func TestConformance(t *testing.T) {
	suite := server.Tool(t, "conformance")
	plain := server.Start(t, server.Options{})
	secure := server.Start(t, server.Options{Caddyfile: overTLS, Scheme: "https"})
	guarded := server.Start(t, server.Options{Caddyfile: tiers})
	key, _ := guarded.Key(t, "conformance", "admins")
	for _, test := range []struct {
		name, version, tls string
		server             *server.Server
		key                string
	}{
		{"version 1.1 over HTTP", "1.1", "disabled", plain, ""},
		{"version 1.1 over HTTPS", "1.1", "enabled", secure, ""},
		{"the spec's head over HTTP", "dev", "disabled", plain, ""},
		{"the spec's head over HTTPS", "dev", "enabled", secure, ""},
		{"the spec's head with an API key", "dev", "disabled", guarded, key},
	} {
		t.Run(test.name, func(t *testing.T) {
			results := t.TempDir()
			cmd := exec.CommandContext(t.Context(), suite)
			cmd.Dir = results
			cmd.Env = append(os.Environ(),
				"OCI_REGISTRY="+test.server.Host, "OCI_TLS="+test.tls, "OCI_VERSION="+test.version,
				"OCI_REPO1=conformance/"+test.version, "OCI_REPO2=conformance/"+test.version+"-other",
				"OCI_RESULTS_DIR="+results,
				// Off by default in 1.1, where it would count as disabled.
				"OCI_API_BLOBS_UPLOAD_CANCEL=true",
				// The suite's OCI_TLS=insecure verifies all the same: seen.
				"SSL_CERT_FILE="+test.server.Authority(),
			)
			if test.key != "" {
				cmd.Env = append(cmd.Env, "OCI_USERNAME=conformance", "OCI_PASSWORD="+test.key)
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("suite: %v", err)
			}
			report, readErr := read(filepath.Join(results, "junit.xml"))
			if readErr != nil {
				t.Fatalf("%v; the suite wrote:\n%s", readErr, tail(out))
			}
			report.check(t)
		})
	}
}

// report is the suite's own report.
type report struct {
	Tests    int `xml:"tests,attr"`
	Errors   int `xml:"errors,attr"`
	Failures int `xml:"failures,attr"`
	Skipped  int `xml:"skipped,attr"`
	Disabled int `xml:"disabled,attr"`
	Cases    []struct {
		Name   string `xml:"name,attr"`
		Status string `xml:"status,attr"`
		Said   string `xml:"system-out"`
		Log    string `xml:"system-err"`
	} `xml:"testsuite>testcase"`
}

func read(path string) (report, error) {
	var r report
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, xml.Unmarshal(data, &r)
}

// mostShown bounds the output of a failed run: a few failures are enough to show a common
// cause.
const mostShown = 8

// check requires that every test ran and passed. The suite skips sparse images by default and
// does not count them; this registry refuses them.
func (r report) check(t *testing.T) {
	t.Logf("%d tests: %d failures, %d errors, %d skipped, %d disabled", r.Tests, r.Failures, r.Errors, r.Skipped, r.Disabled)
	if r.Tests < leastTests {
		t.Errorf("%d tests ran, want at least %d", r.Tests, leastTests)
	}
	if r.Failures+r.Errors+r.Skipped+r.Disabled > 0 {
		t.Errorf("%d failures, %d errors, %d skipped, %d disabled; want none", r.Failures, r.Errors, r.Skipped, r.Disabled)
	}
	shown := 0
	for _, c := range r.Cases {
		if c.Status == "passed" || shown == mostShown {
			continue
		}
		shown++
		t.Errorf("%s: %s: %s\n%s", c.Name, c.Status, c.Said, tail([]byte(c.Log)))
	}
}

// tail is the end of an output, short enough to be read.
func tail(out []byte) []byte {
	const most = 2 << 10
	return out[max(0, len(out)-most):]
}
