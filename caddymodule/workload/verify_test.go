package workload

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

const audience = "registry.example.org"

// job are the claims of a workflow of Forgejo, as of now, changed by others.
func job(issuer string, now time.Time, changes map[string]any) map[string]any {
	claims := map[string]any{
		"iss": issuer, "aud": audience, "sub": "repo:blumeops/app:ref:refs/heads/main",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"repository": "blumeops/app", "repository_owner": "blumeops", "ref": "refs/heads/main",
		"ref_protected": "true", "event_name": "push", "run_number": 7, "actor": "ada",
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// signed makes a token. kid may be empty.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, claims any) string {
	t.Helper()
	options := new(jose.SignerOptions)
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := claims.([]byte)
	if !ok {
		if payload, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
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

// keys are of every kind that is trusted, and one more.
type keys struct {
	rsa      *rsa.PrivateKey
	ec, p384 *ecdsa.PrivateKey
	ed       ed25519.PrivateKey
}

func newKeys(t testing.TB) keys {
	t.Helper()
	var k keys
	var err [4]error
	k.rsa, err[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, err[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, err[2] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, err[3] = ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err[:]...); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k keys) publish(p *oidctest.Provider) {
	for kid, key := range map[string]crypto.Signer{"rsa": k.rsa, "ec": k.ec, "p384": k.p384, "ed": k.ed} {
		p.Publish = append(p.Publish, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"})
	}
}

// Each row is a token that the issuer, or an attacker, could make.
func TestWhatATokenProves(t *testing.T) {
	fake, k, stranger := oidctest.New(t, audience), newKeys(t), newKeys(t)
	k.publish(fake)
	fake.Publish = append(fake.Publish, jose.JSONWebKey{Key: stranger.rsa.Public(), KeyID: "for encryption", Use: "enc"})
	issuer := New(fake.Issuer, Config{})
	now := time.Now()
	good := job(fake.Issuer, now, nil)
	with := func(name string, value any) map[string]any {
		return job(fake.Issuer, now, map[string]any{name: value})
	}
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	parts := strings.Split(signed(t, jose.ES256, k.ec, "ec", good), ".")
	deep := []byte(fmt.Sprintf(`{"iss":%q,"sub":"s","exp":%d,"deep":%s1%s}`, fake.Issuer, now.Add(time.Minute).Unix(), strings.Repeat("[", 500), strings.Repeat("]", 500)))

	for _, row := range []struct {
		name, token string
		proves      bool
	}{
		{"RS256", signed(t, jose.RS256, k.rsa, "rsa", good), true},
		{"ES256", signed(t, jose.ES256, k.ec, "ec", good), true},
		{"EdDSA", signed(t, jose.EdDSA, k.ed, "ed", good), true},
		{"no kid", signed(t, jose.EdDSA, k.ed, "", good), true},
		{"an issuer whose clock is ahead", signed(t, jose.ES256, k.ec, "ec", job(fake.Issuer, now.Add(skew/2), nil)), true},
		{"no iat and no nbf", signed(t, jose.ES256, k.ec, "ec", job(fake.Issuer, now, map[string]any{"iat": nil, "nbf": nil})), true},
		{"times with fractions", signed(t, jose.ES256, k.ec, "ec", with("exp", float64(now.Unix())+60.5)), true},

		// Signatures that prove nothing.
		{name: "empty"},
		{name: "no token", token: "a.b.c"},
		{name: "alg none", token: oidctest.Unsigned(good)},
		{name: "alg none with somebody's signature", token: encode(map[string]string{"alg": "none", "kid": "ec"}) + "." + parts[1] + "." + parts[2]},
		{name: "HS256 by a public key", token: signed(t, jose.HS256, der, "rsa", good)},
		{name: "PS256", token: signed(t, jose.PS256, k.rsa, "rsa", good)},
		{name: "RS384", token: signed(t, jose.RS384, k.rsa, "rsa", good)},
		{name: "ES384", token: signed(t, jose.ES384, k.p384, "p384", good)},
		{name: "RS256 by the name of another key", token: signed(t, jose.RS256, k.rsa, "ec", good)},
		{name: "a stranger's key", token: signed(t, jose.ES256, stranger.ec, "ec", good)},
		{name: "a stranger's key of an unknown name", token: signed(t, jose.ES256, stranger.ec, "unknown", good)},
		{name: "a key that is not for signatures", token: signed(t, jose.RS256, stranger.rsa, "for encryption", good)},
		{name: "a key that it brings along", token: encode(map[string]any{"alg": "ES256", "jwk": jose.JSONWebKey{Key: stranger.ec.Public()}}) + "." + parts[1] + "." + strings.Split(signed(t, jose.ES256, stranger.ec, "", good), ".")[2]},
		{name: "another payload", token: parts[0] + "." + encode(with("repository", "blumeops/other")) + "." + parts[2]},
		{name: "without a signature", token: parts[0] + "." + parts[1] + "."},
		{name: "in the JSON form", token: fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2])},

		// Claims that are not right.
		{name: "another issuer", token: signed(t, jose.ES256, k.ec, "ec", with("iss", "https://evil.example"))},
		{name: "an issuer without its slash", token: signed(t, jose.ES256, k.ec, "ec", with("iss", strings.TrimSuffix(fake.Issuer, "/")))},
		{name: "an issuer in another case", token: signed(t, jose.ES256, k.ec, "ec", job(fake.Issuer, now, map[string]any{"iss": nil, "Iss": fake.Issuer}))},
		{name: "expired a second ago", token: signed(t, jose.ES256, k.ec, "ec", with("exp", now.Add(-time.Second).Unix()))},
		{name: "no end", token: signed(t, jose.ES256, k.ec, "ec", with("exp", nil))},
		{name: "an end that is a text", token: signed(t, jose.ES256, k.ec, "ec", with("exp", "tomorrow"))},
		{name: "an end beyond all time", token: signed(t, jose.ES256, k.ec, "ec", with("exp", 1e300))},
		{name: "an end before all time", token: signed(t, jose.ES256, k.ec, "ec", with("exp", -1))},
		{name: "not yet", token: signed(t, jose.ES256, k.ec, "ec", with("nbf", now.Add(skew+time.Minute).Unix()))},
		{name: "made in the future", token: signed(t, jose.ES256, k.ec, "ec", with("iat", now.Add(skew+time.Minute).Unix()))},
		{name: "no subject", token: signed(t, jose.ES256, k.ec, "ec", with("sub", nil))},
		{name: "a subject that is a number", token: signed(t, jose.ES256, k.ec, "ec", with("sub", 7))},
		{name: "a subject of two lines", token: signed(t, jose.ES256, k.ec, "ec", with("sub", "a\nb"))},
		{name: "a huge subject", token: signed(t, jose.ES256, k.ec, "ec", with("sub", strings.Repeat("a", maxSubject+1)))},
		{name: "claims deep in each other", token: signed(t, jose.ES256, k.ec, "ec", deep)},
		{name: "claims that are a list", token: signed(t, jose.ES256, k.ec, "ec", []byte(`["iss"]`))},
		{name: "more than any token", token: signed(t, jose.ES256, k.ec, "ec", with("padding", strings.Repeat("a", maxToken)))},
	} {
		t.Run(row.name, func(t *testing.T) {
			claims, err := issuer.Verify(t.Context(), row.token)
			if row.proves {
				if err != nil || claims["repository"] != "blumeops/app" {
					t.Errorf("got %v, %v", claims, err)
				}
				return
			}
			if !errors.Is(err, ErrToken) || errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, %v, want %v", claims, err, ErrToken)
			}
			if err != nil && len(row.token) > 20 && strings.Contains(err.Error(), row.token[:20]) {
				t.Errorf("the refusal repeats the token: %v", err)
			}
		})
	}
}

// A parsed token may come from anyone. Only content that the issuer has signed is trusted.
func FuzzVerify(f *testing.F) {
	fake, k := oidctest.New(f, audience), newKeys(f)
	k.publish(fake)
	issuer := New(fake.Issuer, Config{})
	good := signed(f, jose.ES256, k.ec, "ec", job(fake.Issuer, time.Now().Add(-time.Second), map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
	if _, err := issuer.Verify(f.Context(), good); err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		"", "..", "a.b.c", good, good + ".", parts[0] + ".." + parts[2], parts[0] + "." + parts[1] + ".",
		oidctest.Unsigned(job(fake.Issuer, time.Now(), nil)),
		signed(f, jose.HS256, []byte(strings.Repeat("k", 32)), "ec", job(fake.Issuer, time.Now(), nil)),
		`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// Some that differ are the same to base64: the last bits of a part mean nothing.
		if claims, err := issuer.Verify(context.Background(), raw); err == nil && (claims["sub"] != "repo:blumeops/app:ref:refs/heads/main" || claims["iss"] != fake.Issuer) {
			t.Errorf("believed %q: %v", raw, claims)
		} else if err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%q: got %v", raw, err)
		}
	})
}

// Claims come from anyone that may start a job. None breaks a rule.
func FuzzClaims(f *testing.F) {
	rule, err := Rule{
		Audience: []string{audience}, Claims: []Claim{{"repository", []string{"blumeops/*", "tools/**"}}},
		Condition: `claims.ref.startsWith("refs/tags/") || claims["a b"].c[0] > 3`, User: "{claims.repository}", Groups: []string{"ci-{claims.owner}"},
	}.Compile("https://forge.example.org/")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"aud":"registry.example.org","repository":"blumeops/app","ref":"refs/tags/v1","owner":"x"}`,
		`{"aud":["registry.example.org"],"repository":["tools/a/b"],"ref":1,"a b":{"c":[4.5]},"owner":"x,admins"}`,
		`{"aud":{},"repository":{"repository":"blumeops/app"}}`, `{"exp":1e999}`, `{"a":1}{"b":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		claims, err := readClaims(payload)
		if err != nil {
			return
		}
		if rule.Holds(claims) != nil {
			return
		}
		who, err := rule.Who(claims)
		if err != nil {
			return
		}
		for _, group := range who.Groups {
			if !strings.HasPrefix(group, "ci-") || strings.ContainsAny(group, ", \t\n") {
				t.Errorf("%s makes the group %q", payload, group)
			}
		}
		if !strings.HasPrefix(who.User, UserPrefix) {
			t.Errorf("%s makes the user %q", payload, who.User)
		}
	})
}
