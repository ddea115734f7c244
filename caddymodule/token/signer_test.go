package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

const host = "registry.example.org"

func tree(t testing.TB) bucket.Bucket {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	b, err := storage.Bucket("identity")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens a signer whose clock is *now.
func open(t testing.TB, b bucket.Bucket, now *time.Time) *Signer {
	t.Helper()
	s, err := Open(context.Background(), b, nil, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sign(t testing.TB, s *Signer) string {
	t.Helper()
	raw, _, err := s.Sign(host, Claims{Subject: "zot-ci", Credential: "key 1"}, MaxLifetime)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestATokenIsGoodForItsHostAndItsTime(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := tree(t)
	s := open(t, b, &now)
	raw := sign(t, s)
	for range 2 { // verified, and remembered
		claims, err := s.Verify(raw, host)
		if err != nil || claims.Subject != "zot-ci" || claims.Credential != "key 1" {
			t.Errorf("got %+v, %v", claims, err)
		}
		if _, err := s.Verify(raw, "other.example.org"); !errors.Is(err, ErrToken) {
			t.Errorf("at another host: %v", err)
		}
	}
	if _, err := open(t, b, &now).Verify(raw, host); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := open(t, tree(t), &now).Verify(raw, host); !errors.Is(err, ErrToken) {
		t.Errorf("at another registry: %v", err)
	}
	now = now.Add(-time.Minute)
	if _, err := s.Verify(raw, host); !errors.Is(err, ErrToken) {
		t.Errorf("before it was made: %v", err)
	}
	now = now.Add(time.Minute + MaxLifetime)
	if _, err := s.Verify(raw, host); !errors.Is(err, ErrToken) {
		t.Errorf("after its end: %v", err)
	}
}

// Each row is a token that an attacker made, or changed.
func TestHostileTokensAreRefused(t *testing.T) {
	now := time.Now()
	s := open(t, tree(t), &now)
	good := sign(t, s)
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	key := s.newest.Load()
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	signed := func(alg jose.SignatureAlgorithm, by any, kid string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: by, KeyID: kid}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := token.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"empty":                  "",
		"not a token":            "a.b.c",
		"alg none":               encode(map[string]string{"alg": "none", "kid": key.id}) + "." + parts[1] + ".",
		"HS256 by a public key":  signed(jose.HS256, []byte(key.public), key.id),
		"a stranger's key":       signed(jose.EdDSA, stranger, key.id),
		"an unknown key":         signed(jose.EdDSA, stranger, "unknown"),
		"a key of its own":       encode(map[string]any{"alg": "EdDSA", "jwk": jose.JSONWebKey{Key: stranger.Public()}}) + "." + parts[1] + "." + strings.Split(signed(jose.EdDSA, stranger, ""), ".")[2],
		"another payload":        parts[0] + "." + encode(Claims{Issuer: s.site, Audience: host, Subject: "admin", Expires: now.Add(time.Hour).Unix()}) + "." + parts[2],
		"without a signature":    parts[0] + "." + parts[1] + ".",
		"a signature cut short":  good[:len(good)-4],
		"longer than any of us":  good + strings.Repeat("A", maxToken),
		"with a line at its end": good + "\n.",
	} {
		t.Run(name, func(t *testing.T) {
			if claims, err := s.Verify(raw, host); !errors.Is(err, ErrToken) {
				t.Errorf("got %+v, %v", claims, err)
			}
		})
	}
	if _, err := s.Verify(good, host); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestKeysAreRotatedWithAnOverlap(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := tree(t)
	s := open(t, b, &now)
	first := s.newest.Load()
	rotate := func(after time.Duration) {
		t.Helper()
		now = now.Add(after)
		if err := s.rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	rotate(rotation - time.Second)
	if s.newest.Load() != first {
		t.Error("rotated too early")
	}
	raw := sign(t, s)
	rotate(time.Second)
	if s.newest.Load() == first {
		t.Error("not rotated")
	}
	if _, err := s.Verify(raw, host); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	rotate(overlap)
	if keys := *s.keys.Load(); len(keys) != 1 {
		t.Errorf("%d keys are left", len(keys))
	}
	now = now.Add(-overlap)
	if _, err := s.Verify(raw, host); !errors.Is(err, ErrToken) {
		t.Errorf("a token whose key is gone is still remembered: %v", err)
	}
	if keys := *open(t, b, &now).keys.Load(); len(keys) != 1 {
		t.Errorf("%d keys are left on the disk", len(keys))
	}
}

func TestVerifiedTokensAreBounded(t *testing.T) {
	v, key := newVerified(), new(heldKey)
	for i := range 3 * maxVerified {
		v.put(strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), Claims{}, key)
	}
	if n := v.tokens.Len(); n > maxVerified {
		t.Errorf("%d are remembered", n)
	}
}

func TestScopes(t *testing.T) {
	for _, row := range []struct {
		parameter string
		pull      bool
		name      string
	}{
		{"repository:library/nginx:pull", true, "library/nginx"},
		{"repository(plugin):a/b:pull", true, "a/b"},
		{"repository:host:5000/a:pull", true, "host:5000/a"},
		{"repository:a:pull,push", false, "a"},
		{"repository:a:push", false, "a"},
		{"repository:a:", false, "a"},
		{"registry:catalog:*", false, "catalog"},
		{"repository::pull", false, ""},
		{"nonsense", false, ""},
	} {
		got := parseScopes([]string{row.parameter})
		if len(got) != 1 || got[0].Pull() != row.pull || got[0].Name != row.name {
			t.Errorf("%s: got %+v", row.parameter, got)
		}
	}
	if got := parseScopes([]string{"repository:a:pull repository:b:pull", "", "repository:c:pull"}); len(got) != 3 {
		t.Errorf("got %+v", got)
	}
	many := parseScopes([]string{strings.Repeat("repository:a:pull ", 2*maxScopes)})
	if len(many) != maxScopes+1 || many[maxScopes].Pull() {
		t.Errorf("got %d scopes, the last %+v", len(many), many[len(many)-1])
	}
}

func FuzzToken(f *testing.F) {
	now := time.Now()
	s := open(f, tree(f), &now)
	f.Add("a.b.c")
	f.Add(sign(f, s)[10:])
	f.Fuzz(func(t *testing.T, raw string) {
		if claims, err := s.Verify(raw, host); err == nil {
			t.Errorf("%q is believed: %+v", raw, claims)
		}
	})
}

func FuzzScope(f *testing.F) {
	f.Add("repository:a:pull,push repository(plugin):b:c:pull")
	f.Fuzz(func(t *testing.T, parameter string) {
		for _, scope := range parseScopes([]string{parameter}) {
			if scope.Pull() && !strings.Contains(parameter, ":pull") {
				t.Errorf("%q has a pull: %+v", parameter, scope)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	now := time.Now()
	s := open(b, tree(b), &now)
	b.ReportAllocs()
	for b.Loop() {
		sign(b, s)
	}
}

func BenchmarkVerifyAgain(b *testing.B) {
	now := time.Now()
	s := open(b, tree(b), &now)
	raw := sign(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(raw, host); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("scope=repository:a:pull", "grant_type=password&username=a&password=b&scope=x")
	f.Add("%zz", "grant_type=refresh_token&refresh_token=c")
	f.Fuzz(func(t *testing.T, query, body string) {
		r := &http.Request{Method: http.MethodPost, URL: &url.URL{RawQuery: query}, Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
		ask, err := Read(httptest.NewRecorder(), r)
		if err != nil && !errors.Is(err, ErrRequest) {
			t.Errorf("%q %q: %v", query, body, err)
		}
		if len(ask.Scopes) > maxScopes+1 {
			t.Errorf("%d scopes", len(ask.Scopes))
		}
		// A secret in the URL is none.
		if form, _ := url.ParseQuery(body); ask.Password != "" && ask.Password != form.Get("password") && ask.Password != form.Get("refresh_token") {
			t.Errorf("%q %q: the password is %q", query, body, ask.Password)
		}
	})
}

// A damaged signing key signs and verifies nothing; another one is made, and the
// rotation removes the damaged one. A damaged name of the registry is replaced.
func TestADamagedSigningKeyIsReplaced(t *testing.T) {
	b, now := tree(t), time.Now()
	s := open(t, b, &now)
	raw, first := sign(t, s), s.newest.Load().id
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, _, err := b.Get(t.Context(), signingPrefix+first)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if _, err := b.Put(t.Context(), signingPrefix+first, data, bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
	s = open(t, b, &now)
	if _, err := s.Verify(raw, host); !errors.Is(err, ErrToken) {
		t.Errorf("a token of the damaged key: got %v", err)
	}
	if _, err := s.Verify(sign(t, s), host); err != nil || s.newest.Load().id == first {
		t.Errorf("a token of another key: got %v", err)
	}
	if found, err := Examine(t.Context(), b); err != nil || len(found) != 1 {
		t.Errorf("Examine says %q, %v", found, err)
	}
	now = now.Add(overlap)
	if err := s.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := Examine(t.Context(), b); err != nil || len(found) > 0 {
		t.Errorf("after the rotation Examine says %q, %v", found, err)
	}
	site := s.Site()
	for _, damaged := range []string{"", site[:20], strings.ToLower(site), "\x00" + site[1:], site + "A", "urn:caddy-registry:"} {
		if _, err := b.Put(t.Context(), siteObject, []byte(damaged), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		if found, err := Examine(t.Context(), b); err != nil || len(found) != 1 {
			t.Errorf("%q: Examine says %q, %v", damaged, found, err)
		}
		again := open(t, b, &now)
		if !validSite.MatchString(again.Site()) {
			t.Errorf("%q: the registry's name is %q", damaged, again.Site())
		}
		if _, err := again.Verify(sign(t, again), host); err != nil {
			t.Errorf("%q: a new token: %v", damaged, err)
		}
	}
}
