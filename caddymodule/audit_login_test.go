package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
)

// The log says who came, with which credential and from where; it does not have each
// pull.
func TestLoginsAreTold(t *testing.T) {
	port := freePort(t)
	load(t, strings.Replace(site(port, t.TempDir(), localPolicy+"local_user erich "+testHash()+" admins", ""), "admin off", `admin off
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	events {
		on * oci_test
	}`, 1))
	r := at(t, port)
	secret, key := robot(t)
	other, otherKey, err := callersOf(t).Identity.Keys().Create(t.Context(), identity.NewKey{User: "other", Service: true, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	wantHeard(t, "keys", []string{observe.EventKeyMade}, []string{observe.EventKeyMade})
	const pull = "/token?scope=repository:team/app:pull"
	get := func(path, authorization string, fields ...string) []byte {
		t.Helper()
		_, body := r.want(http.StatusOK, "GET", path, nil, append(fields, "Authorization", authorization)...)
		return body
	}
	by := basic("zot-ci", secret)

	bearer := "Bearer " + tokenOf(t, get(pull, by))
	wantHeard(t, "the first pull of a key", []string{observe.EventLogin, "user:zot-ci", "credential:key " + key.ID, "address:127.0.0.1", "method:api_key", "at:/token"})
	for range 3 {
		get(pull, by)
		get("/v2/", bearer)
		get("/v2/_catalog", by)
	}
	wantHeard(t, "more pulls")
	get("/token?service=x&client_id=docker", by)
	wantHeard(t, "docker login", []string{observe.EventLogin, "at:/token"})
	get("/v2/", "Bearer "+other)
	wantHeard(t, "curl with a bare key", []string{observe.EventLogin, "user:other", "credential:key " + otherKey.ID, "at:/v2/"})
	far := []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https"}
	get("/v2/_catalog", bearer, far...)
	get("/v2/_catalog", bearer, far...)
	wantHeard(t, "a token that is used elsewhere", []string{observe.EventLogin, "user:zot-ci", "address:192.0.2.7", "method:registry_token"})

	get(pull, basic("erich", testPassword))
	get(pull, basic("erich", testPassword))
	wantHeard(t, "a password for pulls", []string{observe.EventLogin, "user:erich", "credential:local_user ", "method:local_user"})

	// Nobody, and a caller who is refused, has not logged in.
	r.want(http.StatusOK, "GET", pull, nil)
	r.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic("erich", "wrong"))
	r.want(http.StatusUnauthorized, "GET", "/v2/", nil)
	wantHeard(t, "nobody", []string{observe.EventLoginRefused})
	load(t, site(port, t.TempDir(), "", "")) // the next test hears its own
}
