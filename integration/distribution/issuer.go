package distribution

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	service    = "upstream"
	issuerName = "issuer.test"
	keyID      = "only"
	// tokenLife is the lifetime that clients of the protocol assume.
	tokenLife = 300 * time.Second
)

// issuer is a token server. The token has the granted rights, and the registry enforces them:
// the account may do everything, other callers may read in public/.
type issuer struct {
	host string
	key  ed25519.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	i.host = s.Listener.Addr().String()
	return i
}

// jwks is the key with which the registry verifies (RFC 8037).
func (i *issuer) jwks() []byte {
	public := base64.RawURLEncoding.EncodeToString(i.key.Public().(ed25519.PublicKey))
	doc, _ := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": keyID, "x": public},
	}})
	return doc
}

// access is one entry of a token's rights.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// ServeHTTP answers the way of asking that uses GET and Basic.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, secret, given := r.BasicAuth()
	if given && (user != User || secret != Secret) {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "", http.StatusNotFound) // clients try POST first, and go on with GET
		return
	}
	granted := []access{}
	for _, scope := range r.URL.Query()["scope"] {
		for _, part := range strings.Fields(scope) {
			kind, rest, _ := strings.Cut(part, ":")
			name, actions, _ := strings.Cut(rest, ":")
			a := access{Type: kind, Name: name, Actions: strings.Split(actions, ",")}
			if !given {
				a.Actions = slices.DeleteFunc(a.Actions, func(action string) bool {
					return action != "pull" || !strings.HasPrefix(name, "public/")
				})
			}
			granted = append(granted, a)
		}
	}
	now := time.Now()
	token := i.sign(map[string]any{
		"iss": issuerName, "aud": service, "sub": user, "jti": rand.Text(), "access": granted,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(tokenLife / time.Second)})
}

// sign makes a JWT (RFC 7519) by hand: an independent program verifies it.
func (i *issuer) sign(claims any) string {
	part := func(v any) string {
		data, _ := json.Marshal(v) // of plain values
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": "EdDSA", "typ": "JWT", "kid": keyID}) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}
