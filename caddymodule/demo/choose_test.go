package demo

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/sites"
	"github.com/eblume/caddy-registry/policies"
)

func TestChoose(t *testing.T) {
	const open = "anonymous read fetch"
	for _, row := range []struct {
		name       string
		allow      []string
		deny       string
		private    []string
		repository string
		groups     string
		public     bool
		refused    string
	}{
		{"the first group that may", []string{open, "group ci read fetch create", "group admins *"}, "", nil, "demo/hello", "ci", true, ""},
		{"everybody may", []string{"anonymous *"}, "", nil, "demo/hello", "", true, ""},
		{"a rule for the account", []string{"user demo create read"}, "", nil, "demo/hello", "", false, ""},
		{"a rule for the key", []string{"key demo create read"}, "", nil, "demo/hello", "", false, ""},
		{"names are private", []string{"group admins *"}, "", []string{"team/app", "team/**"}, "team/demo/hello", "admins", false, ""},
		{"one component alone", []string{"group admins *"}, "", []string{"team/*"}, "team/demo", "admins", false, ""},
		{"the rule is about some names", []string{"group admins * on team/**"}, "", nil, "team/demo/hello", "admins", false, ""},
		{"a group that may only create is passed by", []string{"group blind create", "group admins *"}, "", nil, "demo/hello", "admins", false, ""},
		// Refusals name what is missing.
		{"nobody may create", []string{open}, "", nil, "", "", false, "add one to the block policy"},
		{"a rule denies it", []string{"group admins *"}, "signed_in create", nil, "", "", false, "denies create in demo/hello to the service account demo, by file:7: deny signed_in create"},
		{"no name is free", []string{"group admins *"}, "", []string{"team/app"}, "", "", false, "no repository for the image"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var rules []policies.Rule
			parse := func(deny bool, text string) {
				t.Helper()
				rule, err := policies.ParseRule(deny, strings.Fields(text))
				if err != nil {
					t.Fatal(err)
				}
				rule.Line = "file:7"
				rules = append(rules, rule)
			}
			for _, text := range row.allow {
				parse(false, text)
			}
			if row.deny != "" {
				parse(true, row.deny)
			}
			takes := func(name string) error {
				if len(row.private) > 0 && !strings.HasPrefix(name, "team/") {
					return errors.New("not here")
				}
				return nil
			}
			got, err := Choose(rules, row.private, takes)
			if row.refused != "" {
				if err == nil || !strings.Contains(err.Error(), row.refused) {
					t.Fatalf("got %+v, %v; want %q", got, err, row.refused)
				}
				return
			}
			if err != nil || got.Repository != row.repository || strings.Join(got.Groups, " ") != row.groups || got.Public != row.public {
				t.Errorf("got %+v, %v; want %s as %q, public %v", got, err, row.repository, row.groups, row.public)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	at := func(host string, port uint) caddy.NetworkAddress {
		return caddy.NetworkAddress{Network: "tcp", Host: host, StartPort: port, EndPort: port}
	}
	loopback := sites.Site{Address: at("127.0.0.1", 5050)}
	secure := sites.Site{Host: "registry.test", Address: at("", 443), TLS: true}
	internal := sites.Site{Host: "inner.test", Address: at("", 8443), TLS: true, PrivateCA: true}
	lan := sites.Site{Address: at("192.0.2.1", 5050)}
	read := sites.Site{Address: at("", 5051), ReadOnly: true}
	hub := sites.Site{Address: at("", 5052), Upstream: "docker.io"}
	open := sites.Site{Address: at("", 5050)}
	for _, row := range []struct {
		name             string
		sites            []sites.Site
		to               string
		base, dial, fail string
	}{
		{"loopback before TLS", []sites.Site{secure, loopback}, "", "http://127.0.0.1:5050", "127.0.0.1:5050", ""},
		{"a certificate that clients know first", []sites.Site{internal, secure}, "", "https://registry.test", "localhost:443", ""},
		{"all addresses", []sites.Site{open}, "", "http://localhost:5050", "localhost:5050", ""},
		{"the one that is named", []sites.Site{loopback, secure, internal}, "inner.test:8443", "https://inner.test:8443", "localhost:8443", ""},
		{"another address", []sites.Site{loopback}, "proxy.test", "https://proxy.test", "proxy.test:443", ""},
		{"another port of loopback", []sites.Site{loopback}, "localhost:80", "http://localhost:80", "localhost:80", ""},
		// Sites that take no push are not tried.
		{"no credentials over plain HTTP", []sites.Site{lan, read, hub}, "", "", "", "takes credentials from this machine"},
		{"the one that is named is read-only", []sites.Site{loopback, read}, "localhost:5051", "", "", "takes no push from this machine"},
		{"no site", nil, "", "", "", "no site of the configuration has the directive"},
		{"not an address", []sites.Site{loopback}, "http://localhost", "", "", "is not a host"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Target(row.sites, row.to, "machine")
			if row.fail != "" {
				if err == nil || !strings.Contains(err.Error(), row.fail) {
					t.Fatalf("got %+v, %v; want %q", got, err, row.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Base.String() != row.base || got.Dial != row.dial {
				t.Errorf("got %s at %s, want %s at %s", got.Base, got.Dial, row.base, row.dial)
			}
		})
	}
}

func TestCommandsFitTheScheme(t *testing.T) {
	for _, row := range []struct {
		to   string
		want []string
	}{
		{"localhost:5050", []string{
			"docker pull localhost:5050/demo/hello:v1",
			"podman pull --tls-verify=false localhost:5050/demo/hello:v1",
			"skopeo copy --src-tls-verify=false docker://localhost:5050/demo/hello:v1 oci:hello:v1",
			"crane pull --insecure localhost:5050/demo/hello:v1 hello.tar",
		}},
		{"registry.test", []string{
			"docker pull registry.test/demo/hello:v1",
			"podman pull registry.test/demo/hello:v1",
			"skopeo copy docker://registry.test/demo/hello:v1 oci:hello:v1",
			"crane pull registry.test/demo/hello:v1 hello.tar",
		}},
	} {
		plan, err := Target(nil, row.to, "")
		if err != nil {
			t.Fatal(err)
		}
		plan.Repository = "demo/hello"
		if got := plan.Commands(); !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.to, got, row.want)
		}
	}
}
