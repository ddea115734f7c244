package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/policies"
)

// browser uses the pages with a provider that lies on request.
type browser struct {
	*testing.T
	*http.Client
	base    string
	fake    *oidctest.Provider
	site    *Site
	private bool
	events  []string
}

// administering is a policy that lets the group admins do everything.
func administering(t *testing.T) policies.Policy {
	t.Helper()
	rule, err := policies.ParseRule(false, []string{"group", "admins", "*"})
	if err != nil {
		t.Fatal(err)
	}
	return policies.NewRules(rule)
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	bucket, err := storage.Bucket("identity")
	if err != nil {
		t.Fatal(err)
	}
	store, err := identity.Open(t.Context(), bucket, identity.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	sessions, err := session.Open(t.Context(), bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{T: t, fake: oidctest.New(t, "registry"), private: true}
	log := slog.New(slog.DiscardHandler)
	provider := oidclogin.New(b.fake.Issuer, "registry", oidclogin.Config{})
	b.site = &Site{
		Identity: store, Sessions: sessions, Provider: provider, Login: oidclogin.NewLogin(provider, sessions),
		Label: "the provider", Callback: "/zot/auth/callback/oidc", Lifetime: time.Hour,
		Admins: &admins.Roster{Policy: administering(t), Issuer: b.fake.Issuer},
		Connection: func(r *http.Request) identity.Connection {
			return identity.Connection{Loopback: b.private, Host: r.Host}
		},
		Audit: func(_ context.Context, event string, _ policies.Identity, _ ...any) {
			b.events = append(b.events, event)
		},
		Refused: func(_ *http.Request, user string, err error) {
			b.events = append(b.events, strings.TrimSpace("refused "+user))
		},
		Log: log,
	}
	b.site.Follower = oidclogin.NewFollower(provider, sessions, store.Users(), b.site.endAll, log)
	server := httptest.NewServer(b.site)
	t.Cleanup(server.Close)
	b.base, b.site.URL = server.URL, server.URL
	provider.Configure(oidclogin.Settings{
		RedirectURL: server.URL + b.site.Callback, Scopes: []string{"openid"},
		UsernameClaim: "preferred_username", GroupsClaim: "groups",
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return b
}

func (b *browser) want(status int, method, path string, form url.Values, fields ...string) (*http.Response, string) {
	b.Helper()
	r, err := http.NewRequest(method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	response, err := b.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	if response.StatusCode != status {
		b.Fatalf("%s %s: got %d, want %d\n%s", method, path, response.StatusCode, status, body)
	}
	return response, string(body)
}

// signIn goes to the provider and back, and returns how the callback was answered.
func (b *browser) signIn(status int) *http.Response {
	b.Helper()
	response, _ := b.want(http.StatusSeeOther, "GET", "/login?start=1&return=%2Fuser%2Fapikey", nil)
	to, err := response.Location()
	if err != nil {
		b.Fatal(err)
	}
	b.fake.Claims["nonce"] = to.Query().Get("nonce")
	back := url.Values{"state": {to.Query().Get("state")}, "code": {"one"}}
	response, _ = b.want(status, "GET", b.site.Callback+"?"+back.Encode(), nil)
	return response
}

// makes sends the form for a key, and returns the page to which it leads.
func (b *browser) makes(form url.Values) (*http.Response, string) {
	b.Helper()
	form.Set("do", "make")
	response, _ := b.want(http.StatusSeeOther, "POST", "/user/apikey", form)
	if got := response.Header.Get("Location"); got != "/user/apikey/made" {
		b.Fatalf("the form leads to %s", got)
	}
	return b.want(http.StatusOK, "GET", "/user/apikey/made", nil)
}

var secretOnPage = regexp.MustCompile(`<pre id="secret"[^>]*>(\S+)</pre>`)

func TestAPersonMakesAKeyAndRevokesIt(t *testing.T) {
	b := newBrowser(t)
	b.fake.Claims["groups"] = []string{"users"}
	b.want(http.StatusSeeOther, "GET", "/user/apikey", nil)
	if got := b.signIn(http.StatusSeeOther).Header.Get("Location"); got != "/user/apikey" {
		t.Errorf("the sign-in led to %q", got)
	}
	response, body := b.makes(url.Values{"days": {"90"}, "name": {"<b>ci"}})
	found := secretOnPage.FindStringSubmatch(body)
	if found == nil || strings.Contains(body, "<b>ci") || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("no key, or a label that is markup, or a page to keep:\n%s", body)
	}
	who, err := b.site.Identity.KeyIdentity(found[1], nil)
	if err != nil || who.User != "ada" {
		t.Fatalf("the key is of %v (%v), want ada", who, err)
	}
	for _, path := range []string{"/user/apikey", "/user/apikey/made"} {
		if _, body := b.want(http.StatusOK, "GET", path, nil); strings.Contains(body, found[1]) {
			t.Errorf("%s shows the key again", path)
		}
	}
	if keys := b.site.Identity.Keys().List("ada"); len(keys) != 1 {
		t.Fatalf("reloading the page of a key made others: %v", keys)
	}
	id := b.site.Identity.Keys().List("ada")[0].ID
	b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"revoke"}, "id": {id}, "sure": {"yes"}})
	if _, err := b.site.Identity.KeyIdentity(found[1], nil); err == nil {
		t.Error("the key works after it was revoked")
	}

	// Actions that only an admin may do, and invalid keys.
	for _, form := range []url.Values{
		{"do": {"make"}, "days": {"1"}, "service": {"zot-ci"}},
		{"do": {"disable"}, "user": {"bob"}, "sure": {"yes"}},
		{"do": {"enable"}, "user": {"bob"}},
		{"do": {"revoke"}, "id": {"none"}, "sure": {"yes"}},
	} {
		b.want(http.StatusForbidden, "POST", "/user/apikey", form)
	}
	b.want(http.StatusBadRequest, "POST", "/user/apikey", url.Values{"do": {"make"}, "days": {"91"}})
	b.want(http.StatusOK, "POST", "/logout", nil)
	b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"make"}, "days": {"1"}})
	if got := strings.Join(b.events, " "); got != "login key_made key_revoked logout" {
		t.Errorf("audit has %q", got)
	}
}

func TestAnAdminCaresForOthers(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	_, body := b.makes(url.Values{"days": {"9"}, "service": {"zot-ci"}, "groups": {"ci builders"}})
	who, err := b.site.Identity.KeyIdentity(secretOnPage.FindStringSubmatch(body)[1], nil)
	if err != nil || who.User != "zot-ci" || len(who.Groups) != 2 {
		t.Errorf("got %v (%v), want zot-ci in two groups", who, err)
	}
	disableBob := url.Values{"do": {"disable"}, "user": {"bob"}, "sure": {"yes"}}
	b.want(http.StatusSeeOther, "POST", "/user/apikey", disableBob)
	if bob, _ := b.site.Identity.Users().Get("bob"); !bob.Disabled {
		t.Error("bob is not disabled")
	}
	b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"enable"}, "user": {"bob"}})
	if bob, _ := b.site.Identity.Users().Get("bob"); bob.Disabled {
		t.Error("bob is disabled still")
	}
	// The command may disable ada, who is then out.
	if _, err := b.site.Identity.Users().SetDisabled(t.Context(), "ada", true); err != nil {
		t.Fatal(err)
	}
	b.want(http.StatusSeeOther, "GET", "/user/apikey", nil)
	b.signIn(http.StatusForbidden)
	if got := strings.Join(b.events, " "); got != "login key_made user_disabled user_enabled refused ada" {
		t.Errorf("audit has %q", got)
	}
}

func TestWhatIsRefused(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	b.want(http.StatusForbidden, "POST", "/logout", nil, "Sec-Fetch-Site", "cross-site")
	b.want(http.StatusForbidden, "POST", "/logout", nil, "Origin", "https://evil.example")
	b.want(http.StatusMethodNotAllowed, "POST", "/", nil)
	b.want(http.StatusMethodNotAllowed, "GET", BackChannel, nil)
	b.want(http.StatusBadRequest, "POST", BackChannel, url.Values{"logout_token": {"x"}})
	b.want(http.StatusBadRequest, "GET", b.site.Callback+"?state=x&code=y", nil)
	b.want(http.StatusOK, "HEAD", "/user/apikey", nil)
	b.want(http.StatusNotFound, "GET", "/user/other", nil)
	b.site.URL = "https://registry.example.org"
	response, _ := b.want(http.StatusSeeOther, "GET", "/login?start=1&return=%2Fuser%2Fapikey", nil)
	if got, want := response.Header.Get("Location"), "https://registry.example.org/login?moved=1&return=%2Fuser%2Fapikey&start=1"; got != want {
		t.Errorf("a sign-in by another name of the registry leads to %s, want %s", got, want)
	}
	b.want(http.StatusSeeOther, "GET", "/login?start=1&moved=1", nil)
	b.private = false
	_, body := b.want(http.StatusForbidden, "GET", "/", nil)
	if !strings.Contains(body, "https://registry.example.org/") {
		t.Error("a plain page does not name the https one")
	}
}

func TestTheProviderSignsSomebodyOut(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	token := b.fake.Sign(b.fake.With(map[string]any{
		"jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}))
	b.want(http.StatusOK, "POST", BackChannel, url.Values{"logout_token": {token}}, "Origin", "https://provider.example")
	b.want(http.StatusSeeOther, "GET", "/user/apikey", nil)
}

// The groups follow a provider that gives refresh tokens; one that refuses them has
// disabled the person.
func TestGroupsFollow(t *testing.T) {
	b := newBrowser(t)
	b.site.Follower.SetInterval(time.Nanosecond)
	b.fake.Token["refresh_token"] = "refresh"
	b.signIn(http.StatusSeeOther)
	b.fake.Claims["groups"] = []string{"others"}
	if _, body := b.want(http.StatusOK, "GET", "/", nil); !strings.Contains(body, "others") {
		t.Error("the groups did not change")
	}
	b.fake.Token["error"] = "invalid_grant"
	b.want(http.StatusSeeOther, "GET", "/user/apikey", nil)
	if user, _ := b.site.Identity.Users().Get("ada"); len(user.Groups)+len(user.Refresh) != 0 {
		t.Errorf("%+v has groups, or a refresh token", user)
	}
}

func TestWithoutItsProvider(t *testing.T) {
	b := newBrowser(t)
	b.fake.Down = true
	b.want(http.StatusOK, "GET", "/login", nil)
	_, body := b.want(http.StatusServiceUnavailable, "GET", "/login?start=1", nil)
	if !strings.Contains(body, "does not answer") {
		t.Errorf("the page says:\n%s", body)
	}
}
