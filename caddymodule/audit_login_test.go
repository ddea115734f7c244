package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// The log says who came, with which credential and from where; it does not have each
// pull.
func TestLoginsAreTold(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t,
		strings.Replace(registrytest.Caddyfile(port, t.TempDir(),
			localPolicy+"local_user erich "+registrytest.PasswordHash()+" admins", ""), "admin off", `admin off
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	events {
		on * oci_test
	}`, 1))
	r := registrytest.At(t, port)
	secret, key := registrytest.Key(t)
	other, otherKey, err := registrytest.Callers(t).Identity.Keys().Create(t.Context(),
		identity.NewKey{User: "other", Service: true, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	wantHeard(t, "keys", []string{observe.EventKeyMade}, []string{observe.EventKeyMade})
	const pull = "/token?scope=repository:team/app:pull"
	get := func(path, authorization string, fields ...string) []byte {
		t.Helper()
		_, body := r.Want(http.StatusOK, "GET", path, nil, append(fields, "Authorization", authorization)...)
		return body
	}
	by := registrytest.Basic("zot-ci", secret)

	bearer := "Bearer " + registrytest.Token(t, get(pull, by))
	wantHeard(t, "the first pull of a key",
		[]string{observe.EventLogin, "user:zot-ci", "credential:key " + key.ID, "address:127.0.0.1",
			"method:api_key", "at:/token"})
	for range 3 {
		get(pull, by)
		get("/v2/", bearer)
		get("/v2/_catalog", by)
	}
	wantHeard(t, "more pulls")
	get("/token?service=x&client_id=docker", by)
	wantHeard(t, "docker login", []string{observe.EventLogin, "at:/token"})
	get("/v2/", "Bearer "+other)
	wantHeard(t, "curl with a bare key",
		[]string{observe.EventLogin, "user:other", "credential:key " + otherKey.ID, "at:/v2/"})
	far := []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https"}
	get("/v2/_catalog", bearer, far...)
	get("/v2/_catalog", bearer, far...)
	wantHeard(t, "a token that is used elsewhere",
		[]string{observe.EventLogin, "user:zot-ci", "address:192.0.2.7", "method:registry_token"})

	get(pull, registrytest.Basic("erich", registrytest.Password))
	get(pull, registrytest.Basic("erich", registrytest.Password))
	wantHeard(t, "a password for pulls",
		[]string{observe.EventLogin, "user:erich", "credential:local_user ", "method:local_user"})

	// Nobody, and a caller who is refused, has not logged in.
	r.Want(http.StatusOK, "GET", pull, nil)
	r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", "wrong"))
	r.Want(http.StatusUnauthorized, "GET", "/v2/", nil)
	wantHeard(t, "nobody", []string{observe.EventLoginRefused})
	registrytest.Serve(t, port, t.TempDir(), "", "") // the next test hears its own
}
