package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
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

func TestDoctorLooksAtMirrors(t *testing.T) {
	storage := t.TempDir()
	load(t, site(freePort(t), storage, allowAll, ""))
	s := storageOf(t)
	trees, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	hold(t, trees, "quay.io/coreos/etcd", "v1")
	for range 3 {
		s.CountUse(namespace.Resolved{Mirror: "quay.io", Form: "ns"}, "10.0.0.7")
	}
	s.CountUse(namespace.Resolved{Mirror: "quay.io", Form: "prefix"}, "10.0.0.8")
	for _, tag := range []string{"v1", "v2"} {
		record := []byte(`{"digest":"","time":"2026-11-01T00:00:00Z","gone":"2026-11-02T00:00:00Z"}`)
		if _, err := trees.State.Put(t.Context(), "mirror/checks/quay.io/coreos/etcd/_tags/"+tag, record, bucket.Condition{}); err != nil {
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
	p := &patient{registry: r, minFree: evict.MinFree{Bytes: 1 << 60}, mirrors: []mirrorPatient{
		{"quay.io", client(good)}, {"ghcr.io", client(broken)},
		{"lost.example", func() (*upstream.Client, error) { return nil, errors.New("no credentials") }},
	}}
	report := doctor.Examine(t.Context(), p.checks())
	for _, want := range []doctor.Finding{
		{Check: "storage", Level: doctor.OK, Text: "is in use by process"},
		{Check: "identity", Level: doctor.OK, Text: "can be read"},
		{Check: "disk", Level: doctor.Fail, Text: "they evict"},
		{Check: "use of quay.io", Level: doctor.OK, Text: "4 requests in the last 30 days, by ns, prefix, from 10.0.0."},
		{Check: "tags of quay.io", Level: doctor.Warn, Text: "2 tags that the upstream has deleted are served on"},
		{Check: "upstream of quay.io", Level: doctor.OK, Text: "asks for a password, was asked with the credentials"},
		{Check: "use of ghcr.io", Level: doctor.Warn, Text: "no client has asked this mirror"},
		{Check: "upstream of ghcr.io", Level: doctor.Fail, Text: "503"},
		{Check: "use of lost.example", Level: doctor.Warn, Text: "registry doctor --clients lost.example"},
		{Check: "upstream of lost.example", Level: doctor.Fail, Text: "no credentials"},
	} {
		i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == want.Check })
		if got := report.Findings[i]; got.Level != want.Level || !strings.Contains(got.Text, want.Text) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if report.OK {
		t.Error("all is well")
	}
	// The held repository is asked for with HEAD, which does not count as a
	// pull.
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
		level doctor.Level
		want  string
	}{
		{"a good one", upstream.Found{URL: "https://a", TLS: "TLS 1.3", Expires: now.Add(90 * 24 * time.Hour), Auth: "token", Dated: true, Skew: time.Second,
			Limit: upstream.Limit{Limit: 100, Remaining: 7, Window: 6 * time.Hour, At: now}}, doctor.OK,
			"https://a answers, TLS 1.3, asks for a token, was asked anonymously, 7 of 100 pulls in 6h0m0s are left, its clock agrees"},
		{"one without TLS", upstream.Found{URL: "http://a", Auth: "none"}, doctor.OK, "http://a answers, without TLS, asks for no token"},
		{"a certificate that ends soon", upstream.Found{URL: "https://a", TLS: "TLS 1.2", Expires: now.Add(time.Hour), Auth: "none"}, doctor.Warn, "certificate that ends at"},

		{"a clock that is slow", upstream.Found{URL: "https://a", Auth: "none", Dated: true, Skew: -time.Minute}, doctor.Fail, "1m0s apart"},
	} {
		report := doctor.Examine(t.Context(), []doctor.Check{{Name: row.name, Run: func(context.Context) (string, error) { return describe(row.found, false) }}})
		if got := report.Findings[0]; got.Level != row.level || !strings.Contains(got.Text, row.want) {
			t.Errorf("got %+v, want %s with %q", got, row.level, row.want)
		}
	}
}

func TestWhatTheRegistryHasLearnedIsCompared(t *testing.T) {
	const url = "https://a"
	found := upstream.Found{URL: url, Auth: "token", Realm: "https://a/token"}
	for _, row := range []struct {
		name    string
		learned []upstream.Learned
		want    string // empty: no warning
	}{
		{"nothing", nil, ""},
		{"nothing yet", []upstream.Learned{{URL: url}}, ""},
		{"the same", []upstream.Learned{{URL: url, Auth: "token", Realm: "https://a/token", Accepted: true}}, ""},
		{"another URL", []upstream.Learned{{URL: "https://b", Auth: "basic"}}, ""},
		{"another token endpoint", []upstream.Learned{{URL: url, Auth: "token", Realm: "https://old/token", Accepted: true}}, "has learned https://old/token"},
		{"another way to ask", []upstream.Learned{{URL: url, Auth: "basic", Accepted: true}}, "has learned that it asks for a password"},
		{"credentials that were never taken", []upstream.Learned{{URL: url, Auth: "token", Realm: "https://a/token"}}, "has not accepted the credentials"},
		{"an upstream that is left alone", []upstream.Learned{{URL: url, Failure: "no route to host", Until: time.Now().Add(time.Minute)}}, "because: no route to host"},
	} {
		differ := compare(found, row.learned, true)
		if row.want == "" && len(differ) > 0 || row.want != "" && (len(differ) != 1 || !strings.Contains(differ[0].Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.name, differ, row.want)
		}
	}
}
