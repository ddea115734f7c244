package caddymodule_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/token"
)

// Each row is what a client of FIELD.md sends, down to the push or the refusal.
func TestEveryKindOfClientLogsIn(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "", "")
	key, _ := registrytest.Key(t)
	host := strings.TrimPrefix(r.Base, "http://")
	const scope = "scope=repository:blumeops/app:pull,push"

	ping, _ := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil)
	if got, want := ping.Header.Get("WWW-Authenticate"), `Bearer realm="http://`+host+`/token",service="`+host+
		`"`; got != want {
		t.Errorf("docker's ping: got challenge %s, want %s", got, want)
	}
	// oras, helm, containerd: no ping, the challenge of the resource.
	refused, _ := r.Want(http.StatusUnauthorized, "POST", "/v2/blumeops/app/blobs/uploads/", nil)
	if got, want := refused.Header.Get("WWW-Authenticate"),
		`,scope="repository:blumeops/app:pull,push"`; !strings.HasSuffix(got, want) ||
		len(refused.Header.Values("WWW-Authenticate")) != 1 {
		t.Errorf("a push: got challenge %s, want it to end in %s", got, want)
	}

	get := func(status int, path string, authorization ...string) []byte {
		t.Helper()
		var fields []string
		for _, a := range authorization {
			fields = append(fields, "Authorization", a)
		}
		_, body := r.Want(status, "GET", path, nil, fields...)
		return body
	}
	form := func(status int, values url.Values) []byte {
		t.Helper()
		_, body := r.Want(status, "POST", "/token", strings.NewReader(values.Encode()),
			"Content-Type", "application/x-www-form-urlencoded")
		return body
	}
	pushes := func(what, authorization string) {
		t.Helper()
		// Nobody may write here: whoever is known is told so, others must log in.
		response, body := r.Do("POST", "/v2/blumeops/app/blobs/uploads/", nil, "Authorization", authorization)
		if response.StatusCode != http.StatusForbidden || !bytes.Contains(body, []byte("zot-ci")) {
			t.Errorf("%s: got %d %s, want 403 that names zot-ci", what, response.StatusCode, body)
		}
		get(http.StatusOK, "/v2/", authorization)
	}
	pushes("docker, logged in",
		"Bearer "+registrytest.Token(t,
			get(http.StatusOK, "/token?service="+host+"&account=zot-ci&client_id=docker&offline_token=true&"+scope,
				registrytest.Basic("zot-ci", key))))
	pushes("crane, several scopes",
		"Bearer "+registrytest.Token(t,
			get(http.StatusOK, "/token?"+scope+"&scope=repository:other/app:pull", registrytest.Basic("anybody", key))))
	pushes("containerd, password grant", "Bearer "+registrytest.Token(t, form(http.StatusOK, url.Values{
		"grant_type": {"password"}, "service": {host}, "client_id": {"containerd"}, "username": {"zot-ci"},
		"password": {key}, "scope": {"repository:blumeops/app:pull,push"},
	})))
	pushes("an identity token", "Bearer "+registrytest.Token(t, form(http.StatusOK, url.Values{
		"grant_type": {"refresh_token"}, "service": {host}, "client_id": {"x"}, "refresh_token": {key},
	})))
	pushes("k3s, dagger", registrytest.Basic("zot-ci", key))
	pushes("curl", "Bearer "+key)
	pushes("a registry token as password",
		registrytest.Basic("zot-ci",
			registrytest.Token(t, get(http.StatusOK, "/token", registrytest.Basic("zot-ci", key)))))

	// Without logging in.
	anonymous := "Bearer " + registrytest.Token(t, get(http.StatusOK, "/token?"+scope))
	get(http.StatusOK, "/v2/", anonymous)
	get(http.StatusOK, "/v2/_catalog")
	get(http.StatusOK, "/v2/", registrytest.Basic("", "")) // the conformance suite
	get(http.StatusNotFound, "/v2/blumeops/app/manifests/v1", anonymous)
	again, _ := r.Want(http.StatusUnauthorized, "POST", "/v2/blumeops/app/blobs/uploads/", nil,
		"Authorization", anonymous)
	if again.Header.Get("WWW-Authenticate") == "" {
		t.Error("an anonymous push with a token is not told how to log in")
	}

	// With what is wrong.
	get(http.StatusUnauthorized, "/token?"+scope, registrytest.Basic("zot-ci", "wrong"))
	form(http.StatusUnauthorized, url.Values{"grant_type": {"password"}, "username": {"zot-ci"}, "password": {"wrong"}})
	form(http.StatusBadRequest, url.Values{"grant_type": {"client_credentials"}})
	get(http.StatusUnauthorized, "/v2/", "Bearer wrong")
	get(http.StatusUnauthorized, "/v2/_catalog", "Digest wrong")
	get(http.StatusUnauthorized, "/v2/_catalog", registrytest.Basic("zot-ci", ""))
	r.Want(http.StatusMethodNotAllowed, "DELETE", "/token", nil)
	// A secret in the URL is none.
	anonymous = "Bearer " +
		registrytest.Token(t, get(http.StatusOK, "/token?grant_type=password&username=zot-ci&password="+key))
	r.Want(http.StatusUnauthorized, "POST", "/v2/blumeops/app/blobs/uploads/", nil, "Authorization", anonymous)
}

func TestARevokedKeyTakesItsTokensAlong(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "url https://registry.example.org", "")
	secret, key := registrytest.Key(t)
	_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("zot-ci", secret))
	bearer := "Bearer " + registrytest.Token(t, body)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", bearer)
	if _, err := registrytest.Callers(t).Identity.Keys().Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	for _, authorization := range []string{bearer, "Bearer " + secret, registrytest.Basic("zot-ci", secret)} {
		response, body := r.Want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", authorization)
		for _, want := range []string{`\"ci\" was revoked on 20`, "https://registry.example.org/user/apikey"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("got %s, want it to contain %s", body, want)
			}
		}
		if bytes.Contains(body, []byte(secret)) {
			t.Error("the answer repeats the secret")
		}
		hasError := strings.Contains(response.Header.Get("WWW-Authenticate"), "error=")
		if hasError != strings.HasPrefix(authorization, "Bearer") {
			t.Errorf("%.6s: got challenge %s", authorization, response.Header.Get("WWW-Authenticate"))
		}
	}
	_, body = r.Want(http.StatusUnauthorized, "GET", "/token", nil,
		"Authorization", registrytest.Basic("zot-ci", secret))
	if !bytes.Contains(body, []byte("was revoked")) {
		t.Errorf("/token: got %s", body)
	}
}

func TestATokenIsForTheHostThatWasCalled(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "", "")
	_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Host", "one.example")
	bearer := "Bearer " + registrytest.Token(t, body)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Host", "one.example", "Authorization", bearer)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Host", "ONE.example:80", "Authorization", bearer)
	r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Host", "two.example", "Authorization", bearer)
}

func TestAnEmptyAuthorizationFieldIsAnonymous(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "", "")
	r.Want(http.StatusOK, "GET", "/v2/_catalog", nil, "Authorization", "")
	r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", "")
	response, _ := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", "")
	if field := response.Header.Get("WWW-Authenticate"); !strings.HasPrefix(field, "Bearer ") ||
		strings.Contains(field, "error=") {
		t.Errorf("got the challenge %q", field)
	}
}

// A refused key or token is 401 with its challenge however often it comes: a client
// whose token has ended renews it after that, and gives up after a 429. Many machines
// have one address, and most of them are right.
func TestRefusedKeysAndTokensAreAlwaysTold(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), "local_user erich "+registrytest.PasswordHash(), "")
	r, store := registrytest.At(t, port), registrytest.Callers(t).Identity
	made := func(want identity.NewKey) (string, identity.Key) {
		t.Helper()
		want.By = control.ByCommand
		secret, key, err := store.Keys().Create(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return secret, key
	}
	tokenFor := func(secret string) string {
		t.Helper()
		_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("x", secret))
		return registrytest.Token(t, body)
	}
	good, _ := made(identity.NewKey{User: "robot", Service: true})
	revoked, key := made(identity.NewKey{User: "robot", Service: true, Name: "old"})
	ofRevoked := tokenFor(revoked)
	if _, err := store.Keys().Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	disabled, _ := made(identity.NewKey{User: "mallory", Service: true, Name: "hers"})
	ofDisabled := tokenFor(disabled)
	if _, err := store.Users().SetDisabled(t.Context(), "mallory", true); err != nil {
		t.Fatal(err)
	}
	gone, _ := made(identity.NewKey{User: "nobody", Name: "of nobody"})
	expired, _ := made(identity.NewKey{User: "robot", Service: true, Name: "ended", Lifetime: time.Nanosecond})
	_, password := r.Want(http.StatusOK, "GET", "/token", nil,
		"Authorization", registrytest.Basic("erich", registrytest.Password))
	elsewhere, _, err := registrytest.Callers(t).Tokens.Sign("elsewhere.example", token.Claims{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ended, _, err := registrytest.Callers(t).Tokens.Sign(fmt.Sprintf("127.0.0.1:%d", port),
		token.Claims{}, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, secret, want string }{
		{"a revoked key", revoked, `API key \"old\" was revoked`},
		{"a token of a revoked key", ofRevoked, "was revoked"},
		{"a key of a disabled user", disabled, "mallory is disabled"},
		{"a token of a disabled user's key", ofDisabled, "mallory is disabled"},
		{"a key of somebody who is gone", gone, "nobody is disabled, or gone"},
		{"an expired key", expired, "expired on"},
		{"an unknown key", good[:len(good)-1] + "!", "wrong credentials"},
		{"a forged token",
			strings.TrimRight(ofRevoked, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") + "AAAA",
			"wrong credentials"},
		{"a token for another host", elsewhere, "elsewhere.example"},
		{"a token that has ended", ended, "it has expired"},
	} {
		for _, field := range []string{"Bearer " + row.secret, registrytest.Basic("x", row.secret),
			registrytest.Basic("robot", row.secret)} {
			for range 12 {
				response, body := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", field)
				if !strings.Contains(response.Header.Get("WWW-Authenticate"), `Bearer realm="http://127.0.0.1`) ||
					!strings.Contains(string(body), row.want) {
					t.Fatalf("%s: got %q, %s; want %q", row.name, response.Header.Get("WWW-Authenticate"),
						body, row.want)
				}
				response, body = r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", field)
				if response.Header.Get("WWW-Authenticate") == "" || !strings.Contains(string(body), row.want) {
					t.Fatalf("%s at /token: got %s, want %q", row.name, body, row.want)
				}
			}
		}
	}
	// Nor do broken fields and passwords where none is taken stand in the way of others.
	for range 30 {
		for _, field := range []string{"Bearer", "Basic !", "Digest x", registrytest.Basic("erich", ""),
			registrytest.Basic("erich", "a password below /v2/")} {
			r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", field)
		}
	}
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("robot", good))
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer "+tokenFor(good))
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer "+registrytest.Token(t, password))
	r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", registrytest.Password))
	r.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
}

func TestASiteForReadingTakesNoCredentials(t *testing.T) {
	port := registrytest.FreePort(t)
	text := registrytest.CaddyfileWith(port, t.TempDir(), "url https://registry.example.org\n"+
		registrytest.AllowAll, "read_only")
	registrytest.Load(t, text)
	r := registrytest.At(t, port)
	key, _ := registrytest.Key(t)
	_, body := r.Want(http.StatusOK, "GET", "/token", nil)
	anonymous := "Bearer " + registrytest.Token(t, body)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", anonymous)
	for _, fields := range [][]string{nil, {"Authorization", anonymous}} {
		_, body = r.Want(http.StatusForbidden, "POST", "/v2/x/blobs/uploads/", nil, fields...)
		if !bytes.Contains(body, []byte("https://registry.example.org")) {
			t.Errorf("got %s, want it to name the place to push to", body)
		}
	}
	r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", registrytest.Basic("zot-ci", key))
	r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", registrytest.Basic("zot-ci", key))
}

// Credentials that another machine sends over plain HTTP may have been read on the way.
func TestPlainHTTPFromAfarTakesNoCredentials(t *testing.T) {
	for _, row := range []struct {
		name, options, global string
		fields                []string
		want                  int
	}{
		{"loopback", "", "", nil, http.StatusOK},
		{"forwarded by somebody", "", "", []string{"X-Forwarded-For", "192.0.2.1"}, http.StatusUnauthorized},
		{"https, says somebody", "", "", []string{"X-Forwarded-Proto", "https"}, http.StatusUnauthorized},
		{"https, says a trusted proxy", "", "servers {\n trusted_proxies static 127.0.0.1/32\n }",
			[]string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1"}, http.StatusOK},
		{"http, says a trusted proxy", "", "servers {\n trusted_proxies static 127.0.0.1/32\n }",
			[]string{"X-Forwarded-Proto", "http"}, http.StatusUnauthorized},
		{"forwarded to a site that wants it so", "insecure_credentials", "", []string{"X-Forwarded-For", "192.0.2.1"},
			http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			text := registrytest.CaddyfileWith(port, t.TempDir(), "", row.options)
			registrytest.Load(t, strings.Replace(text, "admin off", "admin off\n"+row.global, 1))
			r := registrytest.At(t, port)
			key, _ := registrytest.Key(t)
			r.Want(row.want, "GET", "/v2/", nil,
				append(row.fields, "Authorization", registrytest.Basic("zot-ci", key))...)
			r.Want(http.StatusOK, "GET", "/v2/_catalog", nil, row.fields...)
		})
	}
}

func TestTheRealmIsTheSiteThatWasCalled(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t,
		strings.Replace(registrytest.Caddyfile(port, t.TempDir(), "", ""), "admin off",
			"admin off\nservers {\n trusted_proxies static 127.0.0.1/32\n }", 1))
	r := registrytest.At(t, port)
	response, _ := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil,
		"Host", "inside:5050", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "registry.example.org",
		"X-Forwarded-For", "192.0.2.1")
	if got, want := response.Header.Get("WWW-Authenticate"),
		`Bearer realm="https://registry.example.org/token",service="registry.example.org"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	response, _ = r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Host", "inside:5050",
		"X-Forwarded-Host", `x",evil="`)
	if got := response.Header.Get("WWW-Authenticate"); strings.Contains(got, "evil") {
		t.Errorf("got %s", got)
	}
}

// Docker sends the credentials of Docker Hub to its mirror, and drops it on a 401.
func TestADaemonLoggedInAtDockerHubPullsThroughAFallback(t *testing.T) {
	port := registrytest.FreePort(t)
	text := registrytest.CaddyfileWith(port, t.TempDir(),
		"private blumeops/**\nmirror docker.io {\nupstream http://127.0.0.1:1\n}", "read_only\nfallback docker.io")
	registrytest.Load(t, text)
	r := registrytest.At(t, port)
	hub := registrytest.Basic("someone", "dckr_pat_0123456789")
	r.Want(http.StatusUnauthorized, "GET", "/v2/", nil) // its ping
	_, body := r.Want(http.StatusOK, "GET", "/token?service=x&account=someone&scope=repository:library/nginx:pull", nil,
		"Authorization", hub)
	bearer := "Bearer " + registrytest.Token(t, body)
	for _, authorization := range []string{bearer, hub} {
		// Nothing answers upstream; what matters is that nobody asks for a login.
		r.Want(http.StatusBadGateway, "GET", "/v2/library/nginx/manifests/latest", nil, "Authorization", authorization)
	}
	for _, query := range []string{"", "?scope=repository:blumeops/app:pull",
		"?scope=repository:library/nginx:pull,push", "?scope=repository:library/nginx:pull&scope=registry:catalog:*",
		"?scope=repository:docker.io/library/nginx:pull"} {
		r.Want(http.StatusUnauthorized, "GET", "/token"+query, nil, "Authorization", hub)
	}
	r.Want(http.StatusUnauthorized, "GET", "/v2/blumeops/app/manifests/v1", nil, "Authorization", hub)
	r.Want(http.StatusForbidden, "POST", "/v2/library/nginx/blobs/uploads/", nil, "Authorization", bearer)
	key, _ := registrytest.Key(t)
	r.Want(http.StatusUnauthorized, "GET", "/v2/library/nginx/manifests/latest", nil,
		"Authorization", registrytest.Basic("someone", key))
	for range 20 {
		r.Want(http.StatusOK, "GET", "/token?scope=repository:library/nginx:pull", nil, "Authorization", hub)
	}
}
