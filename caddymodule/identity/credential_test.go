package identity

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func encoded(userAndPassword string) string {
	return base64.StdEncoding.EncodeToString([]byte(userAndPassword))
}

func TestWhatAnAuthorizationFieldSays(t *testing.T) {
	for _, row := range []struct {
		name         string
		field        string
		user, secret string
		explicit     bool
		wrong        bool
	}{
		{"nothing", "", "", "", false, false},
		{"Basic", "Basic " + encoded("zot-ci:key"), "zot-ci", "key", false, false},
		{"in small letters", "basic " + encoded("zot-ci:key"), "zot-ci", "key", false, false},
		{"a password with colons", "Basic " + encoded("a:b:c"), "a", "b:c", false, false},
		{"a password without a user", "Basic " + encoded(":key"), "", "key", false, false},
		{"a caller who chooses to be anonymous", "Basic " + encoded(":"), "", "", true, false},
		{"Bearer", "Bearer key", "", "key", false, false},
		{"a user without a password", "Basic " + encoded("zot-ci:"), "zot-ci", "", false, true},
		{"no colon", "Basic " + encoded("zot-ci"), "", "", false, true},
		{"no base 64", "Basic !", "", "", false, true},
		{"an empty Bearer", "Bearer ", "", "", false, true},
		{"another scheme", "Digest x", "", "", false, true},
		{"a user that is not a text", "Basic " + encoded("a\nb:key"), "", "", false, true},
		{"too much", "Bearer " + strings.Repeat("x", maxAuthorization), "", "", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			if row.field != "" {
				r.Header.Set("Authorization", row.field)
			}
			c, err := ReadCredential(r, AtRegistry)
			if c.User != row.user || c.Secret != row.secret || c.Explicit != row.explicit || errors.Is(err, ErrCredential) != row.wrong {
				t.Errorf("got %+v, %v", c, err)
			}
			if err != nil && row.secret != "" && strings.Contains(err.Error(), row.secret) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer a", "Bearer b"}}}
	if _, err := ReadCredential(r, AtRegistry); !errors.Is(err, ErrCredential) {
		t.Errorf("two fields: got %v", err)
	}
}

func TestTheIssuerOfAJWTIsRead(t *testing.T) {
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for secret, want := range map[string]string{
		jwt(`{"iss":"https://idp"}`):        "https://idp",
		jwt(`{"iss":7}`):                    "",
		jwt(`[]`):                           "",
		"a.b":                               "",
		"a.!.c":                             "",
		Prefix + jwt(`{"iss":"https://i"}`): "",
	} {
		var c Credential
		c.setSecret(secret)
		if c.Issuer != want {
			t.Errorf("%s: got %q, want %q", secret, c.Issuer, want)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("Basic " + encoded("a:b"))
	f.Add("Bearer e30.eyJpc3MiOiJ4In0.c2ln")
	f.Fuzz(func(t *testing.T, field string) {
		r := &http.Request{Header: http.Header{"Authorization": {field}}}
		c, err := ReadCredential(r, AtRegistry)
		if err == nil && !c.Presented() && !c.Explicit && strings.TrimSpace(field) != "" {
			t.Errorf("%q is neither a credential, nor anonymous, nor wrong", field)
		}
		if err != nil && !errors.Is(err, ErrCredential) {
			t.Errorf("%q: %v", field, err)
		}
	})
}

// The host that a proxy names ends in a challenge.
func FuzzForwarded(f *testing.F) {
	f.Add("https", "registry.example.org:5000, proxy")
	f.Add("http", "a\"b")
	f.Fuzz(func(t *testing.T, scheme, host string) {
		r := &http.Request{Host: "registry.example.org", Header: http.Header{"X-Forwarded-Proto": {scheme}, "X-Forwarded-Host": {host}}, RemoteAddr: "127.0.0.1:1"}
		c := ConnectionOf(r, true)
		if strings.ContainsAny(c.Base(), "\", \r\n\\?#@") || strings.Count(c.Base(), "/") != 2 || c.Loopback {
			t.Errorf("%q %q: got %q", scheme, host, c.Base())
		}
		if c := ConnectionOf(r, false); c.Host != r.Host || c.HTTPS {
			t.Errorf("%q %q is believed of a stranger", scheme, host)
		}
	})
}
