package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// testCallback is where the provider sends browsers back to.
const testCallback = "/zot/auth/callback/oidc"

// visitor is a browser without scripts at a registry on loopback.
type visitor struct {
	*registrytest.Registry
	client http.Client
	fake   *oidctest.Provider
}

// visit returns a browser without cookies. Visitors that sign in need a provider.
func visit(t *testing.T, port int, fake *oidctest.Provider) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{registrytest.At(t, port), http.Client{
		Jar:           jar,
		Transport:     registrytest.Transport,
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
	request, err := http.NewRequest(method, v.Base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := v.client.Do(request)
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

// signIn signs in at the provider.
func (v *visitor) signIn() {
	v.Helper()
	response, _ := v.page(http.StatusSeeOther, "/login?start=1", nil)
	to, err := response.Location()
	if err != nil {
		v.Fatal(err)
	}
	if got, want := to.Query().Get("redirect_uri"), v.Base+testCallback; got != want {
		v.Fatalf("the provider is to send the browser to %s, want %s", got, want)
	}
	v.fake.Claims["nonce"] = to.Query().Get("nonce")
	back := url.Values{"state": {to.Query().Get("state")}, "code": {"one"}}
	v.page(http.StatusSeeOther, testCallback+"?"+back.Encode(), nil)
}

// shownKey finds the secret on the page of a new key.
var shownKey = regexp.MustCompile(`<pre id="secret"[^>]*>(\S+)</pre>`)

// makeKey makes a key on the page and returns its secret.
func (v *visitor) makeKey() string {
	v.Helper()
	v.page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"make"}, "days": {"90"}})
	_, body := v.page(http.StatusOK, "/user/apikey/made", nil)
	found := shownKey.FindStringSubmatch(body)
	if found == nil {
		v.Fatalf("no key on the page: %s", body)
	}
	return found[1]
}

// oidcBlock returns the options of a registry where people sign in with a provider.
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

// passwordForm is what the login page sends.
func passwordForm(user, password string) url.Values {
	return url.Values{"username": {user}, "password": {password}, "return": {"/user/apikey"}}
}

// apiAnswer is any answer of the API.
type apiAnswer struct {
	Key    *apiKey  `json:"key"`
	Keys   []apiKey `json:"keys"`
	Secret string   `json:"secret"`
	Errors []struct {
		Code, Message string
	} `json:"errors"`
}

// api asks the API as somebody with the visitor's cookies, or with fields alone.
func (v *visitor) api(status int, method, path, body string, fields ...string) apiAnswer {
	v.Helper()
	request, err := http.NewRequest(method, v.Base+path, strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := v.client.Do(request)
	if err != nil {
		v.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		v.Fatal(err)
	}
	if response.StatusCode != status || response.Header.Get("Content-Type") != "application/json" ||
		response.Header.Get("Cache-Control") != "no-store" {
		v.Fatalf("%s %s: got %d %v %s, want %d", method, path, response.StatusCode, response.Header, data, status)
	}
	var answer apiAnswer
	if err := json.Unmarshal(data, &answer); err != nil {
		v.Fatalf("%s %s: %v: %s", method, path, err, data)
	}
	if failed := len(answer.Errors) == 1 && answer.Errors[0].Code != "" &&
		answer.Errors[0].Message != ""; failed != (status >= 400) {
		v.Fatalf("%s %s: got %s", method, path, data)
	}
	if status == http.StatusUnauthorized && response.Header.Get("WWW-Authenticate") == "" {
		v.Errorf("%s %s: a 401 without a challenge", method, path)
	}
	if status == http.StatusMethodNotAllowed && response.Header.Get("Allow") == "" {
		v.Errorf("%s %s: a 405 without Allow", method, path)
	}
	return answer
}
