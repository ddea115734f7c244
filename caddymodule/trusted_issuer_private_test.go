package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// A pod pulls with its own token, which the kubelet asks the cluster for and shows as
// its credential provider says (KEP-4412): the registry needs no secret for it, and its
// issuer is one that nobody outside of the cluster can ask.
func TestPodsPullWithTheirOwnToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig", Algorithm: "ES256"}}}
	var cluster *httptest.Server
	cluster = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer the-registrys-own":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]any{"issuer": cluster.URL,
				"jwks_uri": cluster.URL + "/openid/v1/jwks"})
		default:
			json.NewEncoder(w).Encode(set)
		}
	}))
	defer cluster.Close()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw}))
	bearer := file("token", []byte("the-registrys-own\n"))
	published, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	keys := file("keys.json", published)

	pod := func(changes map[string]any) string {
		t.Helper()
		claims := map[string]any{
			"iss": cluster.URL, "aud": []string{"registry.example.org"},
			"sub": "system:serviceaccount:prod:puller", "jti": "1",
			"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			"kubernetes.io": map[string]any{"namespace": "prod"},
		}
		for name, value := range changes {
			claims[name] = value
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256,
			Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, ways := range map[string]string{
		"ca and bearer_token_file": "ca " + ca + "\nbearer_token_file " + bearer,
		"keys_file":                "keys_file " + keys,
	} {
		t.Run(name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			block := func(ways, rule string) string {
				return "trusted_issuer " + cluster.URL + " {\naudience registry.example.org\n" + ways + "\n" +
					rule + "\n}\n"
			}
			// The second block of the issuer need not say again how it is asked.
			r := registrytest.Serve(t, port, t.TempDir(),
				block(ways, "claim sub system:serviceaccount:prod:*\ngroups pods")+
					block("", "condition `claims[\"kubernetes.io\"].namespace == \"ci\"`\ngroups jobs")+`
				policy {
					allow group pods read fetch
					allow group jobs read create
				}`, "")
			token := pod(nil)
			bearers := map[string]string{"the token": token}
			_, body := r.Want(http.StatusOK, "GET", "/token?scope=repository:prod/app:pull", nil,
				"Authorization", registrytest.Basic("kubelet", token))
			bearers["as the password"] = registrytest.Token(t, body)
			_, body = r.Want(http.StatusOK, "GET", "/token?scope=repository:prod/app:pull", nil,
				"Authorization", "Bearer "+token)
			bearers["as Bearer"] = registrytest.Token(t, body)
			for grant, values := range map[string]url.Values{
				"password":      {"grant_type": {"password"}, "username": {"x"}, "password": {token}},
				"refresh_token": {"grant_type": {"refresh_token"}, "refresh_token": {token}},
			} {
				_, body = r.Want(http.StatusOK, "POST", "/token", strings.NewReader(values.Encode()),
					"Content-Type", "application/x-www-form-urlencoded")
				bearers[grant] = registrytest.Token(t, body)
			}
			for what, bearer := range bearers {
				response, body := r.Do("GET", "/v2/prod/app/tags/list", nil, "Authorization", "Bearer "+bearer)
				if response.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "NAME_UNKNOWN") {
					t.Errorf("%s: got %s %s, want the answer to a reader", what, response.Status, body)
				}
				r.Want(http.StatusForbidden, "POST", "/v2/prod/app/blobs/uploads/", nil,
					"Authorization", "Bearer "+bearer)
			}
			r.Want(http.StatusUnauthorized, "GET", "/v2/prod/app/tags/list", nil)
			job := pod(map[string]any{"sub": "system:serviceaccount:ci:job",
				"kubernetes.io": map[string]any{"namespace": "ci"}})
			r.Want(http.StatusAccepted, "POST", "/v2/prod/app/blobs/uploads/", nil, "Authorization", "Bearer "+job)
			for what, wrong := range map[string]string{
				"for the API of the cluster": pod(map[string]any{"aud": []string{"https://kubernetes.default.svc"}}),
				"of another namespace": pod(map[string]any{"sub": "system:serviceaccount:dev:puller",
					"kubernetes.io": map[string]any{"namespace": "dev"}}),
				"that has ended":       pod(map[string]any{"exp": time.Now().Unix() - 1}),
				"with a signature cut": token[:len(token)-4],
			} {
				response, body := r.Do("GET", "/token", nil, "Authorization", registrytest.Basic("x", wrong))
				if response.StatusCode != http.StatusUnauthorized {
					t.Errorf("a token %s: got %s %s", what, response.Status, body)
				}
			}
		})
	}

	// Contradicting options are refused with their line.
	for options, want := range map[string]string{
		"keys_file a\nca b":                 "keys_file asks the issuer nothing",
		"keys_file a\nbearer_token_file b":  "keys_file asks the issuer nothing",
		"ca a\nca b":                        "duplicate option ca",
		"ca a b":                            "rong argument count",
		"bearer_token_file":                 "rong argument count",
		"keys_file a\nkeys_file b":          "duplicate option keys_file",
		"bearer_token_file a {\n nested \n": "",
	} {
		text := registrytest.Caddyfile(1, dir, "trusted_issuer "+cluster.URL+" {\naudience x\n"+options+"\n}", "")
		if err := registrytest.AdaptError(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", options, err, want)
		}
	}
	differ := "trusted_issuer " + cluster.URL + " {\naudience x\nca a\n}\ntrusted_issuer " + cluster.URL +
		" {\naudience x\nca b\n}"
	if err := registrytest.Validate(t,
		string(registrytest.Adapt(t, registrytest.Caddyfile(1, dir, differ, "")))); err == nil ||
		!strings.Contains(err.Error(), "for all blocks of an issuer") {
		t.Errorf("two authorities of one issuer: got %v", err)
	}
}
