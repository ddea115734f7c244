package clients

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// forge answers like a Forgejo with Actions when a job requests a token, and when a registry
// requests its keys. It does not listen before start.
type forge struct {
	*testing.T
	issuer  string
	address string
	server  *http.Server

	mu  sync.Mutex // guards what follows
	kid int
	key *rsa.PrivateKey
}

// requestToken is the credential with which a job may request a token from Forgejo.
const requestToken = "of-this-job-alone"

func newForge(t *testing.T) *forge {
	f := &forge{T: t, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(server.FreePort(t)))}
	f.issuer = "http://" + f.address + "/api/actions"
	f.rotate()
	return f
}

func (f *forge) start() {
	f.Helper()
	listener, err := net.Listen("tcp", f.address)
	if err != nil {
		f.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/actions/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, map[string]any{
			"issuer": f.issuer, "jwks_uri": f.issuer + "/.well-known/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("/api/actions/.well-known/keys", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answer(w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": strconv.Itoa(f.kid),
			"n": encode(f.key.N.Bytes()), "e": encode(big.NewInt(int64(f.key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("/api/actions/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+requestToken || r.FormValue("job") == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		f.answer(w, map[string]any{"value": f.token(r.FormValue("audience"), nil)})
	})
	f.server = &http.Server{Handler: mux}
	go f.server.Serve(listener)
	f.Cleanup(f.stop)
}

func (f *forge) stop() { f.server.Close() }

// rotate gives it another key.
func (f *forge) rotate() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = key
	f.kid++
}

// token is that of a job on main, changed by others.
func (f *forge) token(audience string, changes map[string]any) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	claims := map[string]any{
		"iss": f.issuer, "aud": audience, "sub": "repo:blumeops/app:ref:refs/heads/main",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"repository": "blumeops/app", "repository_owner": "blumeops", "ref": "refs/heads/main", "actor": "erich",
	}
	maps.Copy(claims, changes)
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": strconv.Itoa(f.kid)})
	if err != nil {
		f.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		f.Fatal(err)
	}
	signed := encode(header) + "." + encode(payload)
	hash := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, f.key, crypto.SHA256, hash[:])
	if err != nil {
		f.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// environment returns the environment variables of a job.
func (f *forge) environment() []string {
	return []string{
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + f.issuer + "/token?job=1",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + requestToken,
	}
}

func (f *forge) answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		f.Error(fmt.Errorf("answer of the forge: %w", err))
	}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
