package caddymodule_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/token"
)

// hearing adds the listener and trust in a proxy on loopback to a configuration.
func hearing(text string) string {
	return strings.Replace(text, "admin off", `admin off
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	events {
		on * oci_test
	}`, 1)
}

// Each login that is refused has one record: as whom, from where, and why.
func TestRefusedLoginsAreRecorded(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t,
		hearing(registrytest.Caddyfile(port, t.TempDir(), "url https://registry.example.org\n"+localPolicy+
			"local_user erich "+registrytest.PasswordHash()+" admins", "respond /user/* next")))
	v, store := visit(t, port, nil), registrytest.Callers(t).Identity
	made := func(want identity.NewKey) (string, identity.Key) {
		t.Helper()
		want.By = control.ByCommand
		secret, key, err := store.Keys().Create(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return secret, key
	}
	unknown, _ := made(identity.NewKey{User: "robot", Service: true})
	unknown = unknown[:len(unknown)-1] + "!"
	expired, expiredKey := made(identity.NewKey{User: "robot", Service: true, Name: "ended", Lifetime: time.Nanosecond})
	revoked, revokedKey := made(identity.NewKey{User: "robot", Service: true, Name: "old"})
	_, body := v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("x", revoked))
	ofRevoked := registrytest.Token(t, body)
	if _, err := store.Keys().Revoke(t.Context(), revokedKey.ID); err != nil {
		t.Fatal(err)
	}
	disabled, disabledKey := made(identity.NewKey{User: "mallory", Service: true, Name: "hers"})
	if _, err := store.Users().SetDisabled(t.Context(), "mallory", true); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("127.0.0.1:%d", port)
	ended, _, err := registrytest.Callers(t).Tokens.Sign(host, token.Claims{}, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	forgetHeard()

	const path, far = "/v2/team/app/manifests/v1", "198.51.100.7"
	for _, row := range []struct {
		name, path, field string
		want              []string // nil: no record
	}{
		{"an unknown key", path, registrytest.Basic("ci", unknown),
			[]string{"user:ci", "credential: ", "address:" + far, "reason:wrong", "method:api_key", "at:/v2/"}},
		{"an unknown key at /token", "/token?service=x", registrytest.Basic("ci", unknown),
			[]string{"user:ci", "reason:wrong", "at:/token"}},
		{"a wrong password", "/token", registrytest.Basic("erich", "wrong"),
			[]string{"user:erich", "reason:wrong", "method:local_user", "at:/token"}},
		{"an unknown user", "/token", registrytest.Basic("eve", "wrong"),
			[]string{"user:eve", "reason:wrong", "method:unknown"}},
		{"an expired key", path, registrytest.Basic("ci", expired),
			[]string{"user:robot", "credential:key " + expiredKey.ID, "reason:expired"}},
		{"a revoked key", path, registrytest.Basic("ci", revoked),
			[]string{"user:robot", "credential:key " + revokedKey.ID, "reason:revoked"}},
		{"a token of a revoked key", path, "Bearer " + ofRevoked,
			[]string{"user:robot", "credential:key " + revokedKey.ID, "reason:revoked", "method:registry_token"}},
		{"a key of a disabled user", path, registrytest.Basic("ci", disabled),
			[]string{"user:mallory", "credential:key " + disabledKey.ID, "reason:disabled"}},
		{"a token of nobody here", path, "Bearer " + unsignedToken("https://elsewhere.example"),
			[]string{"reason:token", "issuer:https://elsewhere.example"}},
		{"a token that has ended, as each does", path, "Bearer " + ended, nil},
		{"no credential at all", path, "Digest x", []string{"reason:malformed"}},
		{"a name that forges a record", "/token", registrytest.Basic("x\",\"address\"\u202e", "wrong"),
			[]string{`user:x","address"?`, "address:" + far}},
		{"a name that is too long", "/token", registrytest.Basic(strings.Repeat("n", 200), "wrong"),
			[]string{"user:" + strings.Repeat("n", 120) + "…"}},
		{"the keys of the API", "/api/keys", "Bearer " + unknown, []string{"reason:wrong", "at:/api/keys"}},
	} {
		for range 2 { // each time: the second is a refused login, too
			v.Want(http.StatusUnauthorized, "GET", row.path, nil, "Authorization", row.field,
				"X-Forwarded-Proto", "https", "X-Forwarded-For", far, "Host", host)
			if row.want == nil {
				wantHeard(t, row.name)
			} else {
				wantHeard(t, row.name, append(row.want, observe.EventLoginRefused))
			}
		}
	}
	v.page(http.StatusForbidden, "/login", passwordForm("erich", "another"))
	wantHeard(t, "a wrong password on the login page",
		[]string{observe.EventLoginRefused, "user:erich", "address:127.0.0.1", "reason:wrong", "at:/login"})
	v.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", registrytest.Basic("ci", expired),
		"X-Forwarded-For", far)
	wantHeard(t, "over plain HTTP", []string{observe.EventLoginRefused, "user:ci", "credential: ", "reason:plain_http"})
	v.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
	v.Want(http.StatusUnauthorized, "GET", "/v2/", nil)
	wantHeard(t, "nobody, who says so")
}

// unsignedToken has the form of a token, and nobody's signature.
func unsignedToken(issuer string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return "e30." + encode([]byte(`{"iss":"`+issuer+`"}`)) + "." + encode([]byte("signature"))
}

func TestAFailedCallbackIsARefusedLogin(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "hidden-secret")
	port, fake := registrytest.FreePort(t), oidctest.New(t, "registry")
	registrytest.Load(t,
		hearing(registrytest.Caddyfile(port, t.TempDir(), oidcBlock(fake, port, "allowed_groups staff"), "")))
	wantHeard(t, "a start")
	v := visit(t, port, fake)
	back := func(status int, query url.Values) {
		t.Helper()
		response, _ := v.page(http.StatusSeeOther, "/login?start=1", nil)
		to, err := response.Location()
		if err != nil {
			t.Fatal(err)
		}
		if query == nil {
			fake.Claims["nonce"] = to.Query().Get("nonce")
			query = url.Values{"code": {"one"}}
		}
		if !query.Has("state") {
			query.Set("state", to.Query().Get("state"))
		}
		v.page(status, testCallback+"?"+query.Encode(), nil)
	}
	refused := func(words ...string) []string {
		return append(words, observe.EventLoginRefused, "method:oidc", "at:"+testCallback, "address:127.0.0.1")
	}
	before := v.Metric(`registry_logins_total{method="oidc",result="refused"}`)
	back(http.StatusBadRequest, url.Values{"code": {"one"}, "state": {"another"}})
	wantHeard(t, "a sign-in that was not begun here", refused("user:]", "reason:stale"))
	back(http.StatusForbidden, url.Values{"error": {"access_denied"}})
	wantHeard(t, "a provider that says no", refused("reason:provider", "access_denied"))
	back(http.StatusForbidden, nil)
	wantHeard(t, "a person in no group that may", refused("user:ada", "reason:not_allowed"))
	fake.Claims["groups"] = []string{"staff"}
	if _, err := registrytest.Callers(t).Identity.Users().SetDisabled(t.Context(), "ada", true); err != nil {
		t.Fatal(err)
	}
	back(http.StatusForbidden, nil)
	wantHeard(t, "a disabled person", refused("user:ada", "reason:disabled"))
	if got := v.Metric(`registry_logins_total{method="oidc",result="refused"}`) - before; got != 4 {
		t.Errorf("%v refused sign-ins were counted, want 4", got)
	}
}

// A flood of guesses is counted and not recorded, and its address is that of the network.
func TestAFloodOfRefusedLoginsIsBounded(t *testing.T) {
	port, log := registrytest.FreePort(t), filepath.Join(t.TempDir(), "audit.log")
	text := hearing(registrytest.Caddyfile(port, t.TempDir(), "", ""))
	registrytest.Load(t,
		strings.Replace(text, "admin off", "admin off\n\tlog audit {\n\t\toutput file "+log+
			"\n\t\tinclude oci.audit\n\t}", 1))
	r := registrytest.At(t, port)
	const flood = 2 * observe.StrangerRecords
	for i := range flood {
		r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization",
			registrytest.Basic("x", fmt.Sprint("guess ", i)),
			"X-Forwarded-Proto", "https", "X-Forwarded-For", fmt.Sprintf("2001:db8::%x", i+1))
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// A minute may have ended meanwhile: then there is one more window.
	if got := strings.Count(string(data), observe.EventLoginRefused); got < observe.StrangerRecords || got >= flood {
		t.Errorf("got %d records of %d refusals, want about %d", got, flood, observe.StrangerRecords)
	}
	if strings.Contains(string(data), "guess") {
		t.Error("a password is in the log")
	}
	forgetHeard()
}

// The record names the caller also where the name is refused before the policy is asked.
func TestADeniedWriteNamesWhoAskedWhateverTheName(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t, hearing(registrytest.Caddyfile(port, t.TempDir(), "private team/**\n"+localPolicy, "")))
	r := registrytest.At(t, port)
	secret, key := registrytest.Key(t)
	field := registrytest.Basic("zot-ci", secret)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", field)
	forgetHeard()
	by := []string{observe.EventDenied, "user:zot-ci", "credential:key " + key.ID, "address:127.0.0.1"}
	for _, row := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v2/elsewhere/app/blobs/uploads/", http.StatusForbidden},
		{"PUT", "/v2/elsewhere/app/manifests/v1", http.StatusForbidden},
		{"DELETE", "/v2/elsewhere/app/manifests/v1", http.StatusForbidden},
		{"PUT", "/v2/team/app/manifests/v1", http.StatusForbidden},
	} {
		r.Want(row.status, row.method, row.path, nil, "Authorization", field)
		wantHeard(t, row.method+" "+row.path, append(by, fmt.Sprint("status:", row.status)))
	}
	r.Want(http.StatusForbidden, "POST", "/v2/elsewhere/app/blobs/uploads/", nil)
	wantHeard(t, "nobody in particular", []string{observe.EventDenied, "user:]"})
	r.Want(http.StatusUnauthorized, "POST", "/v2/elsewhere/app/blobs/uploads/", nil,
		"Authorization", registrytest.Basic("zot-ci", "wrong"))
	wantHeard(t, "a wrong key", []string{observe.EventLoginRefused, "user:zot-ci", "repository:elsewhere/app"})
}
