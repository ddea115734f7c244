package caddymodule

import (
	"encoding/json"
	"errors"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

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
			out, err := commandOutput(t, append([]string{"registry", "doctor", "--json"}, strings.Fields(row.args)...)...)
			status := 0
			if failed := new(exec.ExitError); errors.As(err, &failed) {
				status = failed.ExitCode()
			}
			var report doctorReport
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			i := slices.IndexFunc(report.Findings, func(f finding) bool { return f.Check == row.check })
			if status != row.status || report.OK != (status == 0) || i < 0 || report.Findings[i].OK != row.ok || !strings.Contains(report.Findings[i].Text, row.text) {
				t.Errorf("got status %d and %s", status, out)
			}
		})
	}
	if out, err := commandOutput(t, "registry", "doctor", "now"); err == nil {
		t.Errorf("an argument too many: %s", out)
	}
}

func TestDoctorLooksAtMirrors(t *testing.T) {
	storage := t.TempDir()
	load(t, site(freePort(t), storage, allowAll, ""))
	s := sharedAt(t, storage)
	trees, err := s.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	hold(t, trees, "quay.io/coreos/etcd", "v1")
	for range 3 {
		trees.keeping.usage.Count("quay.io", "ns", "10.0.0.7")
	}
	trees.keeping.usage.Count("quay.io", "prefix", "10.0.0.8")
	for _, tag := range []string{"v1", "v2"} {
		record := []byte(`{"digest":"","time":"2026-11-01T00:00:00Z","gone":"2026-11-02T00:00:00Z"}`)
		if _, err := trees.state.Put(t.Context(), "mirror/checks/quay.io/coreos/etcd/_tags/"+tag, record, bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	good := upstreamtest.New(t, upstreamtest.Options{Kind: upstreamtest.Basic})
	broken := upstreamtest.New(t, upstreamtest.Options{})
	defer broken.Fault(upstreamtest.Fault{Status: 503}).Lift()
	client := func(u *upstreamtest.Upstream) func() (*upstream.Client, error) {
		return func() (*upstream.Client, error) {
			return upstream.New(upstream.Config{Name: "quay.io", URLs: []string{u.URL}, User: "user", Secret: "secret", AllowPrivate: u.AllowPrivate(), ConnectTimeout: time.Minute, HeadTimeout: time.Minute})
		}
	}
	r, err := (&location{storage: storage}).find()
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{registry: r, minFree: mirror.MinFree{Bytes: 1 << 60}, mirrors: []mirrorPatient{
		{"quay.io", client(good)}, {"ghcr.io", client(broken)},
		{"lost.example", func() (*upstream.Client, error) { return nil, errors.New("no credentials") }},
	}}
	report := examine(t.Context(), p.checks())
	for _, want := range []finding{
		{"storage", true, "is in use by process"},
		{"identity", true, "can be read"},
		{"disk", false, "they evict"},
		{"use of quay.io", true, "4 requests in the last 30 days, by ns, prefix, from 10.0.0."},
		{"use of quay.io", true, "; 2 tags that the upstream has deleted are served on"},
		{"upstream of quay.io", true, "asks for a password, was asked with the credentials"},
		{"use of ghcr.io", true, "nobody has asked it"},
		{"upstream of ghcr.io", false, "503"},
		{"use of lost.example", true, "nobody has asked it"},
		{"upstream of lost.example", false, "no credentials"},
	} {
		i := slices.IndexFunc(report.Findings, func(f finding) bool { return f.Check == want.Check })
		if got := report.Findings[i]; got.OK != want.OK || !strings.Contains(got.Text, want.Text) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if report.OK {
		t.Error("all is well")
	}
	// The held repository is asked for with HEAD, which is no pull.
	for _, request := range good.Requests() {
		if strings.Contains(request, "manifests") && !strings.Contains(request, "HEAD /v2/coreos/etcd/manifests/latest") {
			t.Errorf("the upstream saw %s", request)
		}
	}
}

func TestWhatIsSaidOfAnUpstream(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		name  string
		found upstream.Found
		ok    bool
		want  string
	}{
		{"a good one", upstream.Found{URL: "https://a", TLS: "TLS 1.3", Expires: now.Add(90 * 24 * time.Hour), Auth: "token", Dated: true, Skew: time.Second,
			Limit: upstream.Limit{Limit: 100, Remaining: 7, Window: 6 * time.Hour, At: now}}, true,
			"https://a answers, TLS 1.3, asks for a token, was asked anonymously, 7 of 100 pulls in 6h0m0s are left, its clock agrees"},
		{"one without TLS", upstream.Found{URL: "http://a", Auth: "none"}, true, "http://a answers, without TLS, asks for no token"},
		{"a certificate that ends soon", upstream.Found{URL: "https://a", TLS: "TLS 1.2", Expires: now.Add(time.Hour), Auth: "none"}, true, "certificate that ends at"},
		{"a clock that is slow", upstream.Found{URL: "https://a", Auth: "none", Dated: true, Skew: -time.Minute}, false, "1m0s apart"},
	} {
		got, err := describe(row.found, false)
		if err != nil {
			got = err.Error()
		}
		if (err == nil) != row.ok || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
	}
}

func TestLinesForClients(t *testing.T) {
	plain := &url.URL{Scheme: "http", Host: "registry.lan:5050"}
	want := map[string]string{
		"containerd": "server = \"https://registry-1.docker.io\"\n\n[host.\"http://registry.lan:5050\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
		"k3s":        "mirrors:\n  \"docker.io\":\n    endpoint:\n      - \"http://registry.lan:5050\"\n",
		"podman":     "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"registry.lan:5050/docker.io\"\ninsecure = true\n",
		"buildkit":   "[registry.\"docker.io\"]\n  mirrors = [\"registry.lan:5050/docker.io\"]\n\n[registry.\"registry.lan:5050\"]\n  http = true\n",
		"docker":     "{\n  \"registry-mirrors\": [\"http://registry.lan:5050\"],\n  \"insecure-registries\": [\"registry.lan:5050\"]\n}\n",
	}
	for _, lines := range linesFor(plain, "docker.io") {
		if lines.Text != want[lines.Client] || lines.Mirror != "docker.io" {
			t.Errorf("%s: got\n%s\nwant\n%s", lines.Client, lines.Text, want[lines.Client])
		}
		delete(want, lines.Client)
	}
	if len(want) > 0 {
		t.Errorf("nothing for %v", want)
	}
	for _, lines := range linesFor(&url.URL{Scheme: "https", Host: "registry.example.com"}, "ghcr.io") {
		if lines.Client == "docker" || strings.Contains(lines.Text, "insecure") || strings.Contains(lines.Text, "http = true") {
			t.Errorf("%s", lines)
		}
	}
	var daemon map[string][]string
	for _, lines := range linesFor(plain, "docker.io") {
		if lines.Client == "docker" {
			if err := json.Unmarshal([]byte(lines.Text), &daemon); err != nil {
				t.Error(err)
			}
		}
	}
}
