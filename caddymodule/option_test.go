package caddymodule_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// blocks are all blocks with options, each with one line for every option that may be
// there once. A block that gains an option needs it here.
var blocks = []struct {
	name, open, close string
	once              []string
}{
	{"oci", "", "",
		[]string{"url https://a", "storage file /srv", "cache memory", "min_free 5%", "limits", "gc",
			"api_keys", "oidc",
			"policy {\nallow anonymous read\n}", "client_cert"}},
	{"gc", "gc {", "}", []string{"interval 1h", "grace 1h", "untagged keep", "uploads 1h"}},
	{"limits", "limits {", "}", []string{"upload 1GiB", "uploads 1", "keys 1", "reserve 0"}},
	{"api_keys", "api_keys {", "}", []string{"max_lifetime 1h"}},
	{"oidc", "oidc {", "}",
		[]string{"issuer https://a", "client_id a", "client_secret {env.A}", "scopes openid", "username_claim a",
			"groups_claim a", "allowed_groups a", "redirect_path /a", "group_refresh 1m", "session 1h", "label a"}},
	{"mirror", "mirror docker.io {", "}",
		[]string{"credentials a {env.A}", "credentials_file /a", "ttl 1m", "max_stale 1h",
			"not_found_ttl 1s", "gone drop", "keep 1d", "max_size 1GiB", "head_timeout 1s", "connect_timeout 1s",
			"stall_timeout 1s", "breaker 1s",
			"max_connections 1", "ca /a", "client_certificate /a /b"}},
	{"cache redis", "cache redis {", "}",
		[]string{"address a", "sentinel a", "cluster", "user a", "password {env.A}", "db 0", "tls",
			"prefix a", "secret {env.A}", "size 1MiB"}},
	{"sentinel", "cache redis {\nsentinel a {", "}\n}", []string{"user a", "password {env.A}"}},
	{"tls", "cache redis {\ntls {", "}\n}", []string{"ca /a", "client_certificate /a /b", "server_name a"}},
	{"trusted_issuer", "trusted_issuer https://a {", "}",
		[]string{"audience a", "condition `claims.a == 1`", "user a", "groups a"}},
	{"client_cert", "client_cert {", "}", []string{"user cn"}},
	{"storage file", "storage file /srv {", "}", []string{"mirrors /cache"}},
	{"oci_registry", "", "", []string{"upstream a", "fallback a", "read_only", "insecure_credentials", "pages off"}},
}

// adaptBlock reads a block with these lines, and returns the line of the first of them.
func adaptBlock(name, open, close string, lines ...string) (first int, err error) {
	head := "{\noci {\n"
	foot := "\n}\n}"
	if name == "oci_registry" {
		head, foot = "http://:5050 {\noci_registry {\n", "\n}\n}"
	}
	if open != "" {
		head, foot = head+open+"\n", "\n"+close+foot
	}
	return strings.Count(head, "\n") + 1, registrytest.AdaptError(head + strings.Join(lines, "\n") + foot)
}

// No option of any block passes twice: the second one would win, or lose, silently.
func TestEveryBlockRefusesDuplicates(t *testing.T) {
	for _, b := range blocks {
		for _, line := range b.once {
			first, err := adaptBlock(b.name, b.open, b.close, line, line)
			second := first + 1 + strings.Count(line, "\n")
			name, _, _ := strings.Cut(line, " ")
			for _, want := range []string{"duplicate option " + name, fmt.Sprintf("Caddyfile:%d", second)} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %s: got %v, want %q in it", b.name, line, err, want)
				}
			}
		}
	}
}

// A typing mistake never passes as a default.
func TestEveryBlockRefusesWhatItDoesNotHave(t *testing.T) {
	for _, b := range blocks {
		first, err := adaptBlock(b.name, b.open, b.close, "no_such_option 1")
		for _, want := range []string{"unknown option \"no_such_option\" of " + b.name,
			fmt.Sprintf("Caddyfile:%d", first)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", b.name, err, want)
			}
		}
	}
}
