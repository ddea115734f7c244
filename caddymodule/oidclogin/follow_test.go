package oidclogin

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

// oneUser is the record of one person.
type oneUser struct{ identity.User }

func (o *oneUser) Get(string) (identity.User, bool) { return o.User, true }

func (o *oneUser) Update(_ context.Context, _ string, change func(*identity.User) error) (identity.User, error) {
	changed := o.User
	if err := change(&changed); err != nil {
		return o.User, err
	}
	o.User = changed
	return changed, nil
}

// A refresh token is used up by the answer to it (RFC 6749 6). When that answer is invalid, the
// groups stay, and the next try uses the token that came with it: the old one would be refused
// like that of a disabled person.
func TestTheNextRefreshTokenIsKept(t *testing.T) {
	fake := oidctest.New(t, "registry")
	stranger := oidctest.New(t, "registry")
	stranger.Rotate("unknown")
	now := time.Now()
	p := New(fake.Issuer, "registry", Config{Now: func() time.Time { return now }})
	p.Configure(settings())
	users := &oneUser{identity.User{
		Name: "ada", Issuer: fake.Issuer, Subject: "s-1", Groups: []string{"before"}, Refresh: []byte("first"),
	}}
	f := NewFollower(p, noSeal{}, users, func(_ context.Context, user string) { t.Errorf("%s was signed out", user) }, slog.New(slog.DiscardHandler))

	honest := fake.Sign
	fake.Sign = func(claims map[string]any) string {
		return stranger.Signed("unknown", stranger.Key(), jose.ES256, claims)
	}
	fake.Token["refresh_token"] = "second"
	f.Touch(t.Context(), "ada")
	if !slices.Equal(users.Groups, []string{"before"}) || string(users.Refresh) != "second" {
		t.Fatalf("got %v and %s, want the groups from before and the second token", users.Groups, users.Refresh)
	}
	// An answer about another person must not be used, nor its refresh token.
	fake.Sign = honest
	now = now.Add(followRetry)
	fake.Claims["sub"], fake.Token["refresh_token"] = "s-2", "another's"
	f.Touch(t.Context(), "ada")
	if !slices.Equal(users.Groups, []string{"before"}) || string(users.Refresh) != "second" {
		t.Fatalf("got %v and %s of another's answer", users.Groups, users.Refresh)
	}
	delete(fake.Claims, "sub")
	now = now.Add(followRetry)
	fake.Token["refresh_token"] = "third"
	f.Touch(t.Context(), "ada")
	if !slices.Equal(users.Groups, []string{"admins", "users"}) || string(users.Refresh) != "third" || fake.Refreshed != "second" {
		t.Errorf("got %v and %s for %s, want the provider's groups and the third token for the second", users.Groups, users.Refresh, fake.Refreshed)
	}
}
