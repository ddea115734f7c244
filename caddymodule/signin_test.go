package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

const testCallback = "/zot/auth/callback/oidc"

// visitor is a browser without scripts at a registry on loopback.
type visitor struct {
	*registryAt
	http.Client
	fake *oidctest.Provider
}

func visit(t *testing.T, port int, fake *oidctest.Provider) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{at(t, port), http.Client{
		Jar:           jar,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, fake}
}

// page asks for a page, or sends it a form.
func (v *visitor) page(status int, path string, form url.Values) (*http.Response, string) {
	v.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequest(method, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := v.Client.Do(request)
	if err != nil {
		v.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.Fatal(err)
	}
	if response.StatusCode != status {
		v.Fatalf("%s %s: got status %d, want %d: %s", method, path, response.StatusCode, status, body)
	}
	return response, string(body)
}

func (v *visitor) signIn() {
	v.Helper()
	response, _ := v.page(http.StatusSeeOther, "/login?start=1", nil)
	to, err := response.Location()
	if err != nil {
		v.Fatal(err)
	}
	if got, want := to.Query().Get("redirect_uri"), v.base+testCallback; got != want {
		v.Fatalf("the provider is to send the browser to %s, want %s", got, want)
	}
	v.fake.Claims["nonce"] = to.Query().Get("nonce")
	back := url.Values{"state": {to.Query().Get("state")}, "code": {"one"}}
	v.page(http.StatusSeeOther, testCallback+"?"+back.Encode(), nil)
}

var shownKey = regexp.MustCompile(`<pre id="secret"[^>]*>(\S+)</pre>`)

func (v *visitor) makeKey() string {
	v.Helper()
	_, body := v.page(http.StatusOK, "/user/apikey", url.Values{"do": {"make"}, "days": {"90"}})
	found := shownKey.FindStringSubmatch(body)
	if found == nil {
		v.Fatalf("no key on the page: %s", body)
	}
	return found[1]
}

func oidcBlock(fake *oidctest.Provider, port int, more string) string {
	return fmt.Sprintf(`url http://127.0.0.1:%d/
		oidc {
			issuer %s
			client_id registry
			client_secret {env.TEST_OIDC_SECRET}
			redirect_path %s
			%s
		}`, port, fake.Issuer, testCallback, more)
}

func TestAPersonSignsInAndUsesAKey(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "hidden-secret")
	port, dir, fake := freePort(t), t.TempDir(), oidctest.New(t, "registry")
	fake.Token["refresh_token"] = "refresh"
	load(t, site(port, dir, oidcBlock(fake, port, "group_refresh 1ns"), ""))
	v := visit(t, port, fake)
	before := v.metric(`registry_logins_total{method="oidc",result="ok"}`)
	v.signIn()
	if got := v.metric(`registry_logins_total{method="oidc",result="ok"}`); got != before+1 {
		t.Errorf("got %v sign-ins counted, want %v", got, before+1)
	}
	key := v.makeKey()
	v.want(http.StatusOK, "GET", "/v2/", nil, "Authorization", basic("ada", key))

	// A cookie is nothing below /v2/ and at /token, and none is set there.
	for path, status := range map[string]int{"/v2/": http.StatusUnauthorized, "/v2/_catalog": http.StatusOK, "/token": http.StatusOK} {
		response, body := v.page(status, path, nil)
		if len(response.Cookies()) > 0 || strings.Contains(body, "ada") {
			t.Errorf("%s: got cookies %v and %s", path, response.Cookies(), body)
		}
	}

	// The groups of a key are the person's, and follow the provider while it is used.
	fake.Claims["groups"] = []string{"others"}
	for _, use := range []func(){
		func() { v.want(http.StatusOK, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+key) },
		func() { v.want(http.StatusOK, "GET", "/token", nil, "Authorization", basic("ada", key)) },
	} {
		use()
		user, _ := running(t).store.Users().Get("ada")
		if want := fake.Claims["groups"].([]string); len(user.Groups) != 1 || user.Groups[0] != want[0] {
			t.Errorf("got groups %v, want %v", user.Groups, want)
		}
		fake.Claims["groups"] = []string{"yet others"}
	}

	// A reload keeps who is signed in, and takes the new settings.
	discoveries := fake.Count("/app/.well-known/openid-configuration")
	load(t, site(port, dir, oidcBlock(fake, port, "label \"the house\""), ""))
	if _, body := v.page(http.StatusOK, "/login", nil); !strings.Contains(body, "the house") || !strings.Contains(body, "ada") {
		t.Errorf("after a reload the page says %s", body)
	}
	v.page(http.StatusSeeOther, "/login?start=1", nil)
	if got := fake.Count("/app/.well-known/openid-configuration"); got != discoveries {
		t.Errorf("a reload made the provider say %d times who it is, want %d", got, discoveries)
	}
	if strings.Contains(string(adapt(t, site(port, dir, oidcBlock(fake, port, ""), ""))), "hidden-secret") {
		t.Error("the configuration has the secret")
	}
	v.page(http.StatusOK, "/logout", url.Values{})
	v.page(http.StatusSeeOther, "/user/apikey", nil)
}

// The registry starts and serves without its provider, and signs people in as soon as
// there is one.
func TestTheProviderMayComeLater(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, fake := freePort(t), oidctest.New(t, "registry")
	fake.Down = true
	load(t, site(port, t.TempDir(), oidcBlock(fake, port, ""), ""))
	v := visit(t, port, fake)
	signIn := func() (part health.Part) {
		var report health.Report
		_, body := v.want(http.StatusOK, "GET", "/readyz", nil)
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
	v.want(http.StatusOK, "GET", "/v2/_catalog", nil)
	fake.Down = false
	v.eventually("the provider is found", func() bool {
		response, _ := v.do("GET", "/login?start=1", nil, "Connection", "close")
		return response.StatusCode == http.StatusSeeOther
	})
	v.signIn()
	v.eventually("/readyz reports the provider", func() bool { return signIn() == health.Part{Name: "signin", State: health.OK} })
}

func TestWhereThereIsNoSignIn(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, fake := freePort(t), oidctest.New(t, "registry")
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
			text := site(port, t.TempDir(), row.oci, "respond next")
			load(t, strings.Replace(text, "oci_registry\n", "oci_registry {\n "+row.options+"\n }\n", 1))
			r := at(t, port)
			for _, path := range next {
				status, want := row.status, row.body
				if path == "/" { // which is the site's own before it is the registry's
					status, want = http.StatusOK, "next"
				}
				response, body := r.want(status, "GET", path, nil, "X-Forwarded-For", "192.0.2.1")
				if !strings.Contains(string(body), want) || len(response.Cookies()) > 0 {
					t.Errorf("%s: got %s and cookies %v", path, body, response.Cookies())
				}
			}
			r.want(http.StatusOK, "GET", "/somewhere", nil)
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
		{"all of it", address, issuer + client + "client_secret {file./run/secrets/oidc}\nscopes openid groups\nusername_claim nickname\ngroups_claim roles\nallowed_groups a b\nredirect_path /zot/auth/callback/oidc\ngroup_refresh 5m\nsession 1d\nlabel Authentik", ""},
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
			if err := json.Unmarshal(adapt(t, "{\nadmin off\noci {\nstorage file "+t.TempDir()+"\n"+row.url+"oidc {\n"+row.options+"\n}\n}\n}"), &config); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&config)
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "oidc: "+row.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got error %v, want one about %q", err, row.want)
			}
		})
	}
}

func TestStartNamesTheSecretThatIsNotThere(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "")
	port, fake := freePort(t), oidctest.New(t, "registry")
	err := loadError(t, adapt(t, site(port, t.TempDir(), oidcBlock(fake, port, ""), "")))
	if err == nil || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("got error %v, want one that names client_secret", err)
	}
	if got := fake.Count("/app/.well-known/openid-configuration"); got != 0 {
		t.Errorf("the provider was asked %d times by a configuration that did not start", got)
	}
}
