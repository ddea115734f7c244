package oidclogin

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// sealer is a session store of its own.
func sealer(t *testing.T) *session.Store {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	b, err := storage.Bucket("identity")
	if err != nil {
		t.Fatal(err)
	}
	s, err := session.Open(t.Context(), b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func settings() Settings {
	return Settings{
		ClientSecret: "secret", RedirectURL: "https://registry.example.org/oidc/callback",
		Scopes: []string{"openid", "profile"}, UsernameClaim: "preferred_username", GroupsClaim: "groups",
	}
}

func newLogin(t *testing.T, fake *oidctest.Provider, s Settings) *Login {
	p := New(fake.Issuer, "registry", Config{})
	p.Configure(s)
	return NewLogin(p, sealer(t))
}

// begin begins a sign-in and returns what the provider's callback would bring.
func begin(t *testing.T, l *Login, fake *oidctest.Provider) (callback url.Values, cookie string) {
	t.Helper()
	address, cookie, err := l.Begin(t.Context(), "/user/apikey", false)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	if query.Get("code_challenge_method") != "S256" || query.Get("code_challenge") == "" {
		t.Errorf("got %s, want PKCE with S256", address)
	}
	if _, set := fake.Claims["nonce"]; !set {
		fake.Claims["nonce"] = query.Get("nonce")
	}
	return url.Values{"state": {query.Get("state")}, "code": {"code-1"}}, cookie
}

func TestSignIn(t *testing.T) {
	many := make([]string, maxGroups+1)
	for i := range many {
		many[i] = fmt.Sprint("group-", i)
	}
	for _, row := range []struct {
		name   string
		lie    func(*oidctest.Provider)
		change func(*Settings)
		query  func(url.Values)
		want   error
		groups []string
	}{
		{name: "an honest provider", groups: []string{"admins", "users"}},
		{name: "one group as a text", lie: func(p *oidctest.Provider) { p.Claims["groups"] = "admins" }, groups: []string{"admins"}},
		{name: "groups from userinfo", lie: func(p *oidctest.Provider) {
			p.Claims["groups"] = nil
			p.UserInfo = map[string]any{"sub": "s-1", "groups": []string{"b", "a", "a"}}
		}, groups: []string{"a", "b"}},
		{name: "a clock that is a minute behind", lie: func(p *oidctest.Provider) { p.Claims["exp"] = time.Now().Add(-time.Minute).Unix() }, groups: []string{"admins", "users"}},
		{name: "an allowed group", change: func(s *Settings) { s.AllowedGroups = []string{"users"} }, groups: []string{"admins", "users"}},

		// Tokens that are not for us, or not from the provider.
		{name: "another nonce", lie: func(p *oidctest.Provider) { p.Claims["nonce"] = "another" }, want: ErrAnswer},
		{name: "no nonce", lie: func(p *oidctest.Provider) { p.Claims["nonce"] = nil }, want: ErrAnswer},
		{name: "another audience", lie: func(p *oidctest.Provider) { p.Claims["aud"] = "somebody" }, want: ErrAnswer},
		{name: "another authorized party", lie: func(p *oidctest.Provider) { p.Claims["azp"] = "somebody" }, want: ErrAnswer},
		{name: "two audiences and no authorized party", lie: func(p *oidctest.Provider) { p.Claims["aud"] = []string{"registry", "b"} }, want: ErrAnswer},
		{name: "another issuer", lie: func(p *oidctest.Provider) { p.Claims["iss"] = "https://evil.example" }, want: ErrAnswer},
		{name: "an expired token", lie: func(p *oidctest.Provider) { p.Claims["exp"] = time.Now().Add(-time.Hour).Unix() }, want: ErrAnswer},
		{name: "a token of the future", lie: func(p *oidctest.Provider) { p.Claims["iat"] = time.Now().Add(time.Hour).Unix() }, want: ErrAnswer},
		{name: "alg none", lie: func(p *oidctest.Provider) { p.Sign = oidctest.Unsigned }, want: ErrAnswer},
		{name: "alg HS256 under the client secret", lie: func(p *oidctest.Provider) {
			p.Sign = func(c map[string]any) string {
				return p.Signed("one", []byte(strings.Repeat("secret--", 4)), jose.HS256, c)
			}
		}, want: ErrAnswer},
		{name: "a key that is not published", lie: func(p *oidctest.Provider) {
			other := oidctest.New(t, "registry")
			p.Sign = func(c map[string]any) string { return other.Sign(p.With(c)) }
		}, want: ErrAnswer},
		{name: "userinfo about somebody else", lie: func(p *oidctest.Provider) {
			p.Claims["groups"] = nil
			p.UserInfo = map[string]any{"sub": "s-2", "groups": []string{"admins"}}
		}, want: ErrAnswer},
		{name: "an access token that was swapped", lie: func(p *oidctest.Provider) { p.Claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" }, want: ErrAnswer},

		// Names and groups that cannot be stored.
		{name: "more groups than are taken", lie: func(p *oidctest.Provider) { p.Claims["groups"] = many }, want: ErrAnswer},
		{name: "groups that are numbers", lie: func(p *oidctest.Provider) { p.Claims["groups"] = []int{1} }, want: ErrAnswer},
		{name: "an answer without end", lie: func(p *oidctest.Provider) { p.Token["padding"] = strings.Repeat("x", jwks.MaxAnswer) }, want: ErrUnavailable},
		{name: "no user name", lie: func(p *oidctest.Provider) {
			p.Claims["preferred_username"] = nil
			p.UserInfo = map[string]any{"sub": "s-1"}
		}, want: ErrAnswer},

		// Refusals of the provider or the configuration.
		{name: "a code that was used", lie: func(p *oidctest.Provider) { p.Token["error"] = "invalid_grant" }, want: ErrRefused},
		{name: "a client secret that is wrong", lie: func(p *oidctest.Provider) { p.Token["error"] = "invalid_client" }, want: ErrAnswer},
		{name: "no allowed group", change: func(s *Settings) { s.AllowedGroups = []string{"staff"} }, want: ErrNotAllowed},

		// Parameters of the callback.
		{name: "another state", query: func(q url.Values) { q.Set("state", "x") }, want: ErrStale},
		{name: "two states", query: func(q url.Values) { q.Add("state", q.Get("state")) }, want: ErrStale},
		{name: "no code", query: func(q url.Values) { q.Del("code") }, want: ErrAnswer},
		{name: "an error", query: func(q url.Values) { q.Set("error", "access_denied") }, want: ErrRefused},
		{name: "the issuer of another provider", query: func(q url.Values) { q.Set("iss", "https://evil.example") }, want: ErrAnswer},
		{name: "no issuer from a provider that names itself", lie: func(p *oidctest.Provider) {
			p.Document["authorization_response_iss_parameter_supported"] = true
		}, want: ErrAnswer},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake, s := oidctest.New(t, "registry"), settings()
			if row.lie != nil {
				row.lie(fake)
			}
			if row.change != nil {
				row.change(&s)
			}
			l := newLogin(t, fake, s)
			query, cookie := begin(t, l, fake)
			if row.query != nil {
				row.query(query)
			}
			who, to, err := l.Finish(t.Context(), query, cookie)
			if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if err == nil && (who.User != "ada" || who.Subject != "s-1" || to != "/user/apikey" || !slices.Equal(who.Groups, row.groups)) {
				t.Errorf("got %+v to %s", who, to)
			}
		})
	}
}

func TestACookieWorksOnceAndInItsOwnBrowser(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	query, cookie := begin(t, l, fake)
	if _, _, err := l.Finish(t.Context(), query, ""); !errors.Is(err, ErrStale) {
		t.Errorf("without a cookie: got %v, want %v", err, ErrStale)
	}
	if _, _, err := l.Finish(t.Context(), query, "A"+cookie[1:]); !errors.Is(err, ErrStale) {
		t.Errorf("with an altered cookie: got %v, want %v", err, ErrStale)
	}
	if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Finish(t.Context(), query, cookie); !errors.Is(err, ErrStale) {
		t.Errorf("a second time: got %v, want %v", err, ErrStale)
	}
	if got := fake.Count("/token"); got != 1 {
		t.Errorf("the provider was asked for %d tokens, want 1", got)
	}
}

func TestAProviderThatIsDownIsAskedAgainLater(t *testing.T) {
	fake := oidctest.New(t, "registry")
	fake.Down = true
	now := time.Now()
	p := New(fake.Issuer, "registry", Config{Now: func() time.Time { return now }})
	p.Configure(settings())
	l := NewLogin(p, sealer(t))
	for range 5 {
		if _, _, err := l.Begin(t.Context(), "/", false); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, ErrUnavailable)
		}
	}
	if got := fake.Count("/app/.well-known/openid-configuration"); got != 1 {
		t.Errorf("it was asked %d times at one moment, want once", got)
	}
	fake.Down = false
	now = now.Add(lastRetry)
	if _, _, err := l.Begin(t.Context(), "/", false); err != nil {
		t.Errorf("it is back: %v", err)
	}
}

func TestOfflineAccessIsAskedForWhereItIsOnOffer(t *testing.T) {
	for _, row := range []struct {
		offered any
		want    bool
	}{{nil, false}, {[]string{"openid"}, false}, {[]string{"openid", "offline_access"}, true}} {
		fake := oidctest.New(t, "registry")
		if row.offered != nil {
			fake.Document["scopes_supported"] = row.offered
		}
		address, _, err := newLogin(t, fake, settings()).Begin(t.Context(), "/", true)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(address)
		if got := strings.Contains(u.Query().Get("scope"), "offline_access"); got != row.want {
			t.Errorf("offered %v: got %v, want %v", row.offered, got, row.want)
		}
		if !strings.Contains(u.Query().Get("prompt"), "login") {
			t.Errorf("prompt is %q, want login", u.Query().Get("prompt"))
		}
	}
}

// A flood of logout tokens by unknown keys must neither reach the provider nor keep a
// sign-in from finding the keys that the provider has changed to.
func TestUnknownKeysAreLimited(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	other := oidctest.New(t, "registry")
	other.Rotate("unknown")
	for range 50 {
		if _, err := l.LogoutToken(t.Context(), other.Sign(fake.With(logout(nil)))); err == nil {
			t.Fatal("a stranger's logout token was taken")
		}
	}
	if got := fake.Count("/keys"); got != 1 {
		t.Errorf("the keys were fetched %d times, want once", got)
	}
	fake.Rotate("two")
	query, cookie := begin(t, l, fake)
	if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
		t.Errorf("after the provider changed its key: %v", err)
	}
}

// A provider that changes its keys again and again is followed each time, at once.
func TestKeysChangeRightAfterTheyWereFetched(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	for _, kid := range []string{"two", "three", "four"} {
		fake.Rotate(kid)
		delete(fake.Claims, "nonce")
		query, cookie := begin(t, l, fake)
		if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
			t.Errorf("key %s: %v", kid, err)
		}
	}
}

func logout(changes map[string]any) map[string]any {
	claims := map[string]any{
		"jti": "one", "groups": nil, "preferred_username": nil,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for name, value := range changes {
		claims[name] = value
	}
	return claims
}

func TestLogoutTokens(t *testing.T) {
	for _, row := range []struct {
		name    string
		changes map[string]any
		ok      bool
	}{
		{"of a session", nil, true},
		{"of a person", map[string]any{"sid": nil}, true},
		{"of nobody", map[string]any{"sid": nil, "sub": nil}, false},
		{"an ID token", map[string]any{"events": nil}, false},
		{"with a nonce", map[string]any{"nonce": "x"}, false},
		{"without an id", map[string]any{"jti": nil}, false},
		{"for somebody else", map[string]any{"aud": "b"}, false},
		{"by somebody else", map[string]any{"iss": "https://evil.example"}, false},
		{"expired", map[string]any{"exp": 1}, false},
		{"old, without an end", map[string]any{"iat": 1}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake := oidctest.New(t, "registry")
			l := newLogin(t, fake, settings())
			token := fake.Sign(fake.With(logout(row.changes)))
			out, err := l.LogoutToken(t.Context(), token)
			if (err == nil) != row.ok {
				t.Fatalf("got %v, want ok %v", err, row.ok)
			}
			if !row.ok {
				return
			}
			if !out.Ends(fake.Issuer, "s-1", "session-1") || out.Ends(fake.Issuer, "s-2", "session-2") || out.Ends("https://other", "s-1", "session-1") {
				t.Errorf("%+v ends the wrong sessions", out)
			}
			if _, err := l.LogoutToken(t.Context(), token); err == nil {
				t.Error("it was taken twice")
			}
		})
	}
}

func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"/", "/user/apikey", "//evil", `/\evil`, "/%2f/evil", "javascript:x", "/a\n/b", "https://evil", "/.//evil", "/images/a/b:v1", "/images/a@sha256:1", "/:@evil", "@evil"} {
		f.Add(seed)
	}
	base, _ := url.Parse("https://registry.example.org/login")
	f.Fuzz(func(t *testing.T, wanted string) {
		got := ReturnPath(wanted)
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != "https" || strings.ContainsAny(got, "\\\r\n%") || strings.HasPrefix(got, "//") {
			t.Errorf("%q leads to %q", wanted, got)
		}
	})
}

func FuzzCallback(f *testing.F) {
	f.Add("state=a&code=b", "cookie")
	f.Add("state=a&state=b&iss=x&error=%00", "")
	l := NewLogin(New("http://127.0.0.1:1/", "c", Config{}), noSeal{})
	f.Fuzz(func(t *testing.T, raw, cookie string) {
		query, _ := url.ParseQuery(raw)
		if _, to, err := l.Finish(t.Context(), query, cookie); err == nil || ReturnPath(to) != to {
			t.Errorf("got %v to %q", err, to)
		}
	})
}

// noSeal opens what was never sealed: the parser behind the seal must stand alone.
type noSeal struct{}

func (noSeal) Seal(_ string, plain []byte) []byte             { return plain }
func (noSeal) Unseal(_ string, sealed []byte) ([]byte, error) { return sealed, nil }
