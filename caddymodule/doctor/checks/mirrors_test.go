package checks

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/core/upstream"
)

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
