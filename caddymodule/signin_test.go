package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

func TestAPersonSignsInAndUsesAKey(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "hidden-secret")
	port, dir, fake := registrytest.FreePort(t), t.TempDir(), oidctest.New(t, "registry")
	fake.Token["refresh_token"] = "refresh"
	registrytest.Serve(t, port, dir, oidcBlock(fake, port, "group_refresh 1ns"), "")
	v := visit(t, port, fake)
	before := v.Metric(`registry_logins_total{method="oidc",result="ok"}`)
	v.signIn()
	if got := v.Metric(`registry_logins_total{method="oidc",result="ok"}`); got != before+1 {
		t.Errorf("got %v sign-ins counted, want %v", got, before+1)
	}
	key := v.makeKey()
	v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("ada", key))

	// A cookie is nothing below /v2/ and at /token, and none is set there.
	for path, status := range map[string]int{"/v2/": http.StatusUnauthorized, "/v2/_catalog": http.StatusOK,
		"/token": http.StatusOK} {
		response, body := v.page(status, path, nil)
		if len(response.Cookies()) > 0 || strings.Contains(body, "ada") {
			t.Errorf("%s: got cookies %v and %s", path, response.Cookies(), body)
		}
	}

	// The groups of a key are the person's, and follow the provider while it is used.
	fake.Claims["groups"] = []string{"others"}
	for _, use := range []func(){
		func() { v.Want(http.StatusOK, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+key) },
		func() { v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("ada", key)) },
	} {
		use()
		user, _ := registrytest.Callers(t).Identity.Users().Get("ada")
		if want := fake.Claims["groups"].([]string); len(user.Groups) != 1 || user.Groups[0] != want[0] {
			t.Errorf("got groups %v, want %v", user.Groups, want)
		}
		fake.Claims["groups"] = []string{"yet others"}
	}

	// A reload keeps who is signed in, and takes the new settings.
	discoveries := fake.Count("/app/.well-known/openid-configuration")
	registrytest.Serve(t, port, dir, oidcBlock(fake, port, "label \"the house\""), "")
	if _, body := v.page(http.StatusOK, "/login", nil); !strings.Contains(body, "the house") ||
		!strings.Contains(body, "ada") {
		t.Errorf("after a reload the page says %s", body)
	}
	v.page(http.StatusSeeOther, "/login?start=1", nil)
	if got := fake.Count("/app/.well-known/openid-configuration"); got != discoveries {
		t.Errorf("a reload made the provider say %d times who it is, want %d", got, discoveries)
	}
	if strings.Contains(string(registrytest.Adapt(t, registrytest.Caddyfile(port, dir, oidcBlock(fake, port, ""), ""))),
		"hidden-secret") {
		t.Error("the configuration has the secret")
	}
	v.page(http.StatusOK, "/logout", url.Values{})
	v.page(http.StatusSeeOther, "/user/apikey", nil)
}

// The registry starts and serves without its provider, and signs people in as soon as
// there is one.
func TestTheProviderMayComeLater(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, fake := registrytest.FreePort(t), oidctest.New(t, "registry")
	fake.Down = true
	registrytest.Serve(t, port, t.TempDir(), oidcBlock(fake, port, ""), "")
	v := visit(t, port, fake)
	signIn := func() (part health.Part) {
		var report health.Report
		_, body := v.Want(http.StatusOK, "GET", "/readyz", nil)
		if err := json.Unmarshal(body, &report); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if i := slices.IndexFunc(report.Parts, func(p health.Part) bool { return p.Name == "signin" }); i >= 0 {
			part = report.Parts[i]
		}
		return part
	}
	v.page(http.StatusOK, "/login", nil)
	v.page(http.StatusServiceUnavailable, "/login?start=1", nil)
	if part := signIn(); part.State != health.Failed || part.Detail == "" {
		t.Errorf("without its provider the sign-in is %+v", part)
	}
	v.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
	fake.Down = false
	v.Eventually("the provider is found", func() bool {
		response, _ := v.Do("GET", "/login?start=1", nil, "Connection", "close")
		return response.StatusCode == http.StatusSeeOther
	})
	v.signIn()
	v.Eventually("/readyz reports the provider", func() bool {
		return signIn() == health.Part{Name: "signin", State: health.OK}
	})
}

func TestWhereThereIsNoSignIn(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, fake := registrytest.FreePort(t), oidctest.New(t, "registry")
	next := []string{"/", "/login", "/user/apikey", testCallback}
	for _, row := range []struct {
		name, oci, options string
		status             int
		body               string
	}{
		{"without the block oidc", "", "", http.StatusOK, "next"},
		{"on a site for reading", oidcBlock(fake, port, ""), "read_only", http.StatusOK, "next"},
		{"on plain HTTP from afar", oidcBlock(fake, port, ""), "", http.StatusForbidden, "plain connection"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := registrytest.Caddyfile(port, t.TempDir(), row.oci, "respond next")
			registrytest.Load(t, strings.Replace(text, "oci_registry\n", "oci_registry {\n "+row.options+"\n }\n", 1))
			r := registrytest.At(t, port)
			for _, path := range next {
				status, want := row.status, row.body
				if path == "/" { // which is the site's own before it is the registry's
					status, want = http.StatusOK, "next"
				}
				response, body := r.Want(status, "GET", path, nil, "X-Forwarded-For", "192.0.2.1")
				if !strings.Contains(string(body), want) || len(response.Cookies()) > 0 {
					t.Errorf("%s: got %s and cookies %v", path, body, response.Cookies())
				}
			}
			r.Want(http.StatusOK, "GET", "/somewhere", nil)
		})
	}
}

func TestOIDCIsChecked(t *testing.T) {
	const (
		address = "url https://registry.example.org\n"
		issuer  = "issuer https://id.example.org/\n"
		client  = "client_id registry\n"
	)
	for _, row := range []struct{ name, url, options, want string }{
		{"all of it", address, issuer + client + "client_secret {file./run/secrets/oidc}\nscopes openid groups\n" +
			"username_claim nickname\ngroups_claim roles\nallowed_groups a b\nredirect_path /zot/auth/callback/oidc\n" +
			"group_refresh 5m\nsession 1d\nlabel Authentik", ""},
		{"a public client on loopback", "url http://localhost:5050\n", "issuer http://127.0.0.1:9000\n" + client, ""},
		{"no url", "", issuer + client, "url"},
		{"a plain url", "url http://registry.example.org\n", issuer + client, "url"},
		{"no issuer", address, client, "issuer"},
		{"a plain issuer", address, "issuer http://id.example.org\n" + client, "issuer"},
		{"an issuer with a query", address, "issuer https://id.example.org/?a=b\n" + client, "issuer"},
		{"no client", address, issuer, "client_id"},
		{"a bare secret", address, issuer + client + "client_secret hidden", "client_secret"},
		{"a callback below /v2", address, issuer + client + "redirect_path /v2/callback", "redirect_path"},
		{"a callback that is a page", address, issuer + client + "redirect_path /user/apikey", "redirect_path"},
		{"a callback elsewhere", address, issuer + client + "redirect_path //evil.example", "redirect_path"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var config caddy.Config
			if err := json.Unmarshal(
				registrytest.Adapt(t, "{\nadmin off\noci {\nstorage file "+t.TempDir()+"\n"+row.url+"oidc {\n"+
					row.options+"\n}\n}\n}"), &config); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&config)
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "oidc: "+row.want) ||
				strings.Contains(err.Error(), "hidden") {
				t.Errorf("got error %v, want one about %q", err, row.want)
			}
		})
	}
}

func TestStartNamesTheSecretThatIsNotThere(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "")
	port, fake := registrytest.FreePort(t), oidctest.New(t, "registry")
	err := registrytest.TryLoad(t,
		registrytest.Adapt(t, registrytest.Caddyfile(port, t.TempDir(), oidcBlock(fake, port, ""), "")))
	if err == nil || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("got error %v, want one that names client_secret", err)
	}
	if got := fake.Count("/app/.well-known/openid-configuration"); got != 0 {
		t.Errorf("the provider was asked %d times by a configuration that did not start", got)
	}
}
