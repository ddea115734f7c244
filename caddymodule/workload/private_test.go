package workload

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// cluster is the API of a Kubernetes cluster, as far as its issuer is concerned: behind
// an authority of its own, for those who show a token, and with its keys at an address
// that is not the issuer's.
type cluster struct {
	*testing.T
	*clock
	keys         keys
	issuer, keep *httptest.Server
	dir          string

	mu       sync.Mutex
	token    string   // that it asks for
	asked    []string // paths
	jwksURI  string
	redirect string // of discovery, or empty
}

func newCluster(t *testing.T, k keys) *cluster {
	c := &cluster{T: t, clock: newClock(), keys: k, dir: t.TempDir(), token: "first"}
	c.issuer, c.keep = c.serve(c.answer), c.serve(c.answer)
	c.jwksURI = c.keep.URL + "/openid/v1/jwks"
	c.write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.issuer.Certificate().Raw})))
	c.write("token", "first\n")
	return c
}

// serve starts a server on TLS that is quiet about refused handshakes.
func (c *cluster) serve(handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	c.Cleanup(server.Close)
	return server
}

func (c *cluster) write(name, content string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o600); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) published() []byte {
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.keys.rsa.Public(), KeyID: "rsa", Use: "sig", Algorithm: "RS256"}}})
	if err != nil {
		c.Fatal(err)
	}
	return data
}

func (c *cluster) answer(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.URL.Path)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+c.token:
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	case r.URL.Path == "/.well-known/openid-configuration" && c.redirect != "":
		http.Redirect(w, r, c.redirect, http.StatusFound)
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": c.issuer.URL, "jwks_uri": c.jwksURI, "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case r.URL.Path == "/openid/v1/jwks":
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(c.published())
	default:
		http.NotFound(w, r)
	}
}

// pod is the token of a pod, as kubelets mount it.
func (c *cluster) pod() string {
	return signed(c.T, jose.RS256, c.keys.rsa, "rsa", map[string]any{
		"iss": c.issuer.URL, "aud": []string{audience}, "sub": "system:serviceaccount:prod:puller", "jti": "7c4a8d09",
		"iat": c.now().Unix(), "nbf": c.now().Unix(), "exp": c.now().Unix() + 3607,
		"kubernetes.io": map[string]any{"namespace": "prod", "serviceaccount": map[string]any{"name": "puller"}},
	})
}

func (c *cluster) open(files Files) *Issuer {
	for _, name := range []*string{&files.CA, &files.Keys, &files.BearerToken} {
		if *name != "" {
			*name = filepath.Join(c.dir, *name)
		}
	}
	return New(c.issuer.URL, Config{Now: c.now, Files: files})
}

var clusterFiles = Files{CA: "ca.crt", BearerToken: "token"}

func TestThePrivateIssuerOfACluster(t *testing.T) {
	c := newCluster(t, newKeys(t))
	i := c.open(clusterFiles)
	if err := clusterFiles.Check(); err != nil {
		t.Error(err)
	}
	claims, err := i.Verify(t.Context(), c.pod())
	if err != nil || claims["sub"] != "system:serviceaccount:prod:puller" {
		t.Fatalf("got %v, %v", claims, err)
	}
	if n, err := i.Probe(t.Context()); n != 1 || err != nil {
		t.Errorf("a probe found %d keys, %v", n, err)
	}
	// The kubelet rotates the token without notice.
	c.mu.Lock()
	c.token = "second"
	c.mu.Unlock()
	c.write("token", "second")
	c.pass(keyLife)
	if _, err := i.Verify(t.Context(), c.pod()); err != nil {
		t.Errorf("after the token was rotated: %v", err)
	}
	// The authority may be renewed without notice, too.
	c.write("ca.crt", "")
	c.pass(keyLife)
	if _, err := i.Verify(t.Context(), c.pod()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with an authority that is gone: got %v", err)
	}
	other := signed(t, jose.RS256, newKeys(t).rsa, "rsa", map[string]any{"iss": c.issuer.URL, "sub": "x", "exp": c.now().Unix() + 60})
	if _, err := c.open(clusterFiles).Verify(t.Context(), other); err == nil {
		t.Error("a token that another key has signed was taken")
	}
}

func TestHowAPrivateIssuerCannotBeAsked(t *testing.T) {
	keys := newKeys(t) // which take their time
	for _, row := range []struct {
		name   string
		change func(c *cluster)
		files  Files
		want   string // in the error
	}{
		{"no authority", nil, Files{BearerToken: "token"}, "certificate"},
		{"another authority", func(c *cluster) { c.write("ca.crt", otherAuthority(c.T, c.keys)) }, clusterFiles, "certificate"},
		{"an authority that is missing", nil, Files{CA: "missing", BearerToken: "token"}, "ca: open"},
		{"an authority that is empty", func(c *cluster) { c.write("ca.crt", "") }, clusterFiles, "has no certificate in PEM"},
		{"an authority that is a key", func(c *cluster) { c.write("ca.crt", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") }, clusterFiles, "has no certificate in PEM"},
		{"an authority without end", func(c *cluster) { c.write("ca.crt", strings.Repeat("x", maxFile+1)) }, clusterFiles, "more than"},
		{"no token", nil, Files{CA: "ca.crt"}, "401"},
		{"another token", func(c *cluster) { c.write("token", "other") }, clusterFiles, "401"},
		{"a token that is missing", nil, Files{CA: "ca.crt", BearerToken: "missing"}, "bearer_token_file: open"},
		{"a token that is empty", func(c *cluster) { c.write("token", "\n") }, clusterFiles, "has no token"},
		{"two lines of token", func(c *cluster) { c.write("token", "first\nX-Injected: 1") }, clusterFiles, "has no token"},
		{"a token without end", func(c *cluster) { c.write("token", strings.Repeat("x", maxBearer+1)) }, clusterFiles, "more than"},
		{"keys by plain HTTP", func(c *cluster) { c.jwksURI = "http://127.0.0.1:1/jwks" }, clusterFiles, "is not https"},
		{"keys that are not there", func(c *cluster) { c.jwksURI = c.keep.URL + "/no" }, clusterFiles, "404"},
		{"a file of keys that is missing", nil, Files{Keys: "missing"}, "keys_file: open"},
		{"a file that is not a key set", func(c *cluster) { c.write("keys", "<html>") }, Files{Keys: "keys"}, "not a key set"},
		{"a file of keys without end", func(c *cluster) { c.write("keys", strings.Repeat(" ", maxFile+1)) }, Files{Keys: "keys"}, "more than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, keys)
			if row.change != nil {
				row.change(c)
			}
			i := c.open(row.files)
			if _, err := i.Verify(t.Context(), c.pod()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want it to say %q", err, row.want)
			}
			if _, err := i.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "first") {
				t.Errorf("a probe says %v, want it to say %q", err, row.want)
			}
		})
	}
}

// The token is only for the issuer, and for the address of its keys: not for hosts to
// which it is redirected.
func TestATokenIsNotShownToOthers(t *testing.T) {
	c := newCluster(t, newKeys(t))
	var shown []string
	var mu sync.Mutex
	thief := c.serve(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		shown = append(shown, r.Header.Get("Authorization"))
		json.NewEncoder(w).Encode(map[string]any{"issuer": c.issuer.URL, "jwks_uri": c.jwksURI})
	})
	c.redirect = thief.URL + "/.well-known/openid-configuration"
	c.open(clusterFiles).Probe(t.Context())
	mu.Lock()
	defer mu.Unlock()
	if len(shown) != 1 || shown[0] != "" {
		t.Errorf("the target of a redirect was shown %q, want one request without a token", shown)
	}
}

func TestKeysOfAFile(t *testing.T) {
	c := newCluster(t, newKeys(t))
	c.write("keys", string(c.published()))
	i := c.open(Files{Keys: "keys"})
	if _, err := i.Verify(t.Context(), c.pod()); err != nil {
		t.Fatal(err)
	}
	c.keys = newKeys(t) // the cluster has changed its keys under the same name
	if _, err := i.Verify(t.Context(), c.pod()); !errors.Is(err, ErrToken) {
		t.Errorf("by a key that is not in the file: got %v", err)
	}
	c.write("keys", string(c.published()))
	c.pass(refetch)
	if _, err := i.Verify(t.Context(), c.pod()); err != nil {
		t.Errorf("by a key that has come to the file: %v", err)
	}
	if len(c.asked) > 0 {
		t.Errorf("the issuer was asked for %v", c.asked)
	}
	for _, files := range []Files{{Keys: "k", CA: "c"}, {Keys: "k", BearerToken: "b"}} {
		if err := files.Check(); err == nil {
			t.Errorf("%+v: no error", files)
		}
	}
}

// otherAuthority is one that has signed no certificate here.
func otherAuthority(t *testing.T, k keys) string {
	t.Helper()
	template := x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, &template, &template, k.ec.Public(), k.ec)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}
