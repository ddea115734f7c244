package refusal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
)

func wrong(err error) error { return fmt.Errorf("%w: %w", core.ErrUnauthorized, err) }

func TestReasons(t *testing.T) {
	secret := identity.Credential{User: "ci", Secret: "cregk_x"}
	jwt := identity.Credential{Secret: "e30.e30.x", Issuer: "https://issuer.example", Bearer: true}
	cert := identity.Credential{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}}
	key := identity.Key{ID: "0123456789ab", User: "robot", Expires: time.Unix(1, 0)}
	revoked := key
	revoked.Revoked = time.Unix(1, 0)
	for _, row := range []struct {
		name       string
		credential identity.Credential
		err        error
		want       Refusal // without Err; no Reason: not a refusal
	}{
		{"an unknown key", secret, wrong(identity.ErrCredential), Refusal{User: "ci", Reason: Wrong}},
		{"too many passwords", secret, fmt.Errorf("%w: wait", core.ErrTooManyRequests), Refusal{User: "ci", Reason: Limited}},
		{"an expired key", secret, wrong(&identity.KeyRefused{Key: key}), Refusal{User: "robot", Credential: "key 0123456789ab", Reason: Expired}},
		{"a revoked key", secret, wrong(&identity.KeyRefused{Key: revoked}), Refusal{User: "robot", Credential: "key 0123456789ab", Reason: Revoked}},
		{"a disabled user's key", secret, wrong(&identity.KeyRefused{Key: key, Disabled: true}), Refusal{User: "robot", Credential: "key 0123456789ab", Reason: Disabled}},
		{"a disabled user's token", jwt, wrong(&identity.UserRefused{User: "ada", Credential: "x"}), Refusal{User: "ada", Credential: "x", Issuer: jwt.Issuer, Reason: Disabled}},
		{"another's token", jwt, wrong(identity.ErrCredential), Refusal{Issuer: jwt.Issuer, Reason: Token}},
		{"a certificate", cert, wrong(identity.ErrCredential), Refusal{Reason: Certificate}},
		{"a broken field", identity.Credential{}, wrong(identity.ErrCredential), Refusal{Reason: Malformed}},
		{"plain HTTP", secret, wrong(identity.ErrPlainHTTP), Refusal{User: "ci", Reason: PlainHTTP}},
		{"a site for reading", secret, wrong(identity.ErrReadOnly), Refusal{User: "ci", Reason: ReadOnly}},
		{"a token of ours that has expired", jwt, wrong(token.ErrExpired), Refusal{}},
		{"an issuer that does not answer", jwt, fmt.Errorf("%w: no answer", core.ErrUnavailable), Refusal{}},
		{"a client that has left", secret, context.Canceled, Refusal{}},
	} {
		got, ok := Of(row.credential, row.err)
		if ok && got.Err != row.err.Error() {
			t.Errorf("%s: got the sentence %q", row.name, got.Err)
		}
		got.Err = ""
		if got != row.want || ok != (row.want.Reason != "") {
			t.Errorf("%s: got %+v, %v; want %+v", row.name, got, ok, row.want)
		}
	}
	for _, row := range []struct {
		err  error
		want string
	}{
		{oidclogin.ErrStale, Stale}, {oidclogin.ErrRefused, Provider}, {fmt.Errorf("%w: nonce", oidclogin.ErrAnswer), Provider},
		{oidclogin.ErrNotAllowed, NotAllowed}, {identity.ErrNameTaken, NotAllowed}, {identity.ErrUserInvalid, NotAllowed},
		{&identity.UserRefused{User: "ada"}, Disabled}, {oidclogin.ErrUnavailable, ""}, {errors.New("disk"), ""},
	} {
		got, ok := OfSignIn("ada", row.err)
		if got.Reason != row.want || ok != (row.want != "") {
			t.Errorf("sign-in, %v: got %+v, %v; want %q", row.err, got, ok, row.want)
		}
	}
}

// People put the key where the name belongs, and the password away.
func TestTheClaimedNameMayBeASecret(t *testing.T) {
	for user, want := range map[string]string{
		"ada":                                  "ada",
		"cregk_secret":                         "(an API key)",
		" cregk_secret":                        "(an API key)",
		"zak_2bb9220d438b4c2fbaed8dc895894a16": "(an API key)",
		"eyJhbGci.eyJz.sig":                    "(a token)",
		"eyJhbGci":                             "eyJhbGci",
	} {
		got, ok := Of(identity.Credential{User: user, Secret: "x"}, wrong(identity.ErrCredential))
		if !ok || got.User != want {
			t.Errorf("%q: got %q, %v; want %q", user, got.User, ok, want)
		}
	}
}

// Some sentences quote what was sent.
func TestASentenceHasNoKey(t *testing.T) {
	for sent, want := range map[string]string{
		"zak_2bb9220d438b4c2fbaed8dc895894a16":                    "(an API key)",
		"zak_2BB9220D438B4C2F":                                    "(an API key)",
		"cregk_0000000000000000000000000000000000000000000000000": "(an API key)",
		"ada": "ada",
	} {
		got, ok := Of(identity.Credential{User: "ci", Secret: "x"}, wrong(fmt.Errorf("nobody is called %q: %w", sent, identity.ErrCredential)))
		if !ok || !strings.Contains(got.Err, fmt.Sprintf("nobody is called %q", want)) {
			t.Errorf("%s: got %q, %v", sent, got.Err, ok)
		}
	}
}

func TestClean(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"ada", "ada"},
		{"ümläut", "ümläut"},
		{"a\nb\x00c\u202ed\x7f", "a?b?c?d?"},
		{"\xff\xfe", "??"},
		{strings.Repeat("n", 20), "nnnnnnnnnn…"},
		{strings.Repeat("n", 9) + "ü", "nnnnnnnnn?…"},
	} {
		got := cleanText(row.text, 10)
		if got != row.want || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", row.text, got, row.want)
		}
	}
}
