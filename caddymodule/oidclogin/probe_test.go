package oidclogin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

// late is a transport that sets the clock of the provider back or ahead.
type late time.Duration

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		response.Header.Set("Date", time.Now().Add(time.Duration(l)).UTC().Format(http.TimeFormat))
	}
	return response, err
}

// Errors of a provider are sentences that name a remedy.
func TestProbe(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*oidctest.Provider)
		issuer func(string) string
		clock  time.Duration
		want   string // of the error; "": none
		follow bool
	}{
		{name: "one that is well"},
		{name: "one that offers refresh tokens", change: func(p *oidctest.Provider) { p.Document["scopes_supported"] = []string{"openid", "offline_access"} }, follow: true},
		{name: "a clock that is a little slow", clock: -time.Minute},
		{name: "a clock that is wrong", clock: 3 * time.Minute, want: "set the clocks"},
		{name: "one that is down", change: func(p *oidctest.Provider) { p.Down = true }, want: "503"},
		{name: "one that is gone", change: func(p *oidctest.Provider) { p.Close() }, want: "cannot be reached"},
		{name: "an issuer without the last slash", issuer: func(i string) string { return strings.TrimSuffix(i, "/") }, want: "to the last slash"},
		{name: "an issuer that it is not", change: func(p *oidctest.Provider) { p.Document["issuer"] = "https://id.example.org/" }, want: `"https://id.example.org/"`},
		{name: "an issuer of another path", issuer: func(i string) string { return i + "more/" }, want: "404"},
		{name: "one without a token endpoint", change: func(p *oidctest.Provider) { p.Document["token_endpoint"] = "" }, want: "token_endpoint"},
		{name: "keys that are not there", change: func(p *oidctest.Provider) { p.Document["jwks_uri"] = p.URL + "/none" }, want: "cannot be had"},
		{name: "no key", change: func(p *oidctest.Provider) { p.Keys = &jose.JSONWebKeySet{} }, want: "signing key"},
		{name: "a shared secret as a key", change: func(p *oidctest.Provider) {
			p.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "one"}}}
		}, want: "signing key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake := oidctest.New(t, "registry")
			issuer := fake.Issuer
			if row.issuer != nil {
				issuer = row.issuer(issuer)
			}
			if row.change != nil {
				row.change(fake)
			}
			found, err := New(issuer, "registry", Config{Transport: late(row.clock)}).Probe(t.Context())
			if (err != nil) != (row.want != "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q in it", err, row.want)
			}
			if err != nil {
				return
			}
			if found.Keys != 1 || found.Follows != row.follow || !found.Dated || (found.Skew-row.clock).Abs() > 10*time.Second {
				t.Errorf("got %+v", found)
			}
		})
	}
}
