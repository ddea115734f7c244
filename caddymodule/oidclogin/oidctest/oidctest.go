// Package oidctest is an OpenID Connect provider that lies on request: for tests of
// what a sign-in must refuse.
//
//	fake := oidctest.New(t, "client")
//	fake.Claims["nonce"] = "another"
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Provider is a provider on loopback. Its fields may be changed between requests.
type Provider struct {
	*httptest.Server
	// Issuer is its name for itself, with a path.
	Issuer string
	// Document is added to what discovery says.
	Document map[string]any
	// Claims are added to the ID token; a nil value takes one out.
	Claims map[string]any
	// UserInfo is the answer of userinfo.
	UserInfo map[string]any
	// Sign makes a token of claims. Default: by the key that is published.
	Sign func(claims map[string]any) string
	// Token is added to the token endpoint's answer; an "error" refuses.
	Token map[string]any
	// Publish are keys beside its own.
	Publish []jose.JSONWebKey
	// Keys, if they are set, are published instead of its own.
	Keys *jose.JSONWebKeySet
	// Down answers everything with 503.
	Down bool
	// Refreshed is the last refresh token that it was asked with.
	Refreshed string

	mu     sync.Mutex
	key    *ecdsa.PrivateKey
	kid    string
	counts map[string]int
	client string
}

// New starts an honest provider with one client.
func New(t testing.TB, client string) *Provider {
	p := &Provider{client: client, counts: map[string]int{}, Claims: map[string]any{}, Document: map[string]any{}, Token: map[string]any{}}
	p.Rotate("one")
	p.Sign = func(claims map[string]any) string { return p.Signed(p.kid, p.key, jose.ES256, claims) }
	mux := http.NewServeMux()
	mux.HandleFunc("/app/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("/keys", p.keys)
	mux.HandleFunc("/token", p.token)
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, p.UserInfo) })
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.counts[r.URL.Path]++
		p.mu.Unlock()
		if p.Down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	p.Issuer = p.URL + "/app/"
	return p
}

// Rotate gives the provider another key.
func (p *Provider) Rotate(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	p.key, p.kid = key, kid
}

// Key is the key that it signs by.
func (p *Provider) Key() *ecdsa.PrivateKey { return p.key }

// Count is how often a path was asked for.
func (p *Provider) Count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[path]
}

// Signed makes a token with any key.
func (p *Provider) Signed(kid string, key any, algorithm jose.SignatureAlgorithm, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		panic(err)
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

// Unsigned makes a token with the algorithm none.
func Unsigned(claims map[string]any) string {
	payload, _ := json.Marshal(claims)
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(payload) + "."
}

// With are honest claims, changed by others.
func (p *Provider) With(changes map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": p.Issuer, "aud": p.client, "sub": "s-1", "sid": "session-1",
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"preferred_username": "ada", "groups": []string{"admins", "users"},
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	document := map[string]any{
		"issuer": p.Issuer, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"userinfo_endpoint": p.URL + "/userinfo", "jwks_uri": p.URL + "/keys", "end_session_endpoint": p.URL + "/end",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
	}
	maps.Copy(document, p.Document)
	answer(w, http.StatusOK, document)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	if p.Keys != nil {
		answer(w, http.StatusOK, p.Keys)
		return
	}
	own := jose.JSONWebKey{Key: p.key.Public(), KeyID: p.kid, Algorithm: "ES256", Use: "sig"}
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{own}, p.Publish...)})
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	if refresh := r.FormValue("refresh_token"); refresh != "" {
		p.Refreshed = refresh
	}
	body := map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": p.Sign(p.With(p.Claims))}
	maps.Copy(body, p.Token)
	status := http.StatusOK
	if body["error"] != nil {
		status = http.StatusBadRequest
	}
	answer(w, status, body)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
