package oidclogin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/eblume/caddy-registry/core/memo"
)

const (
	// PendingLifetime is how long a person may take at the provider.
	PendingLifetime = 10 * time.Minute
	// sealPurpose binds a sealed sign-in to its use.
	sealPurpose = "oidc sign-in"
	// maxParameter bounds a parameter of a callback, in bytes.
	maxParameter = 8 << 10
	// maxUsed bounds the states and logout tokens that are remembered. Only those that the
	// provider has confirmed are: a code that it accepted, a token that it signed. When there are
	// more within their time, the oldest is forgotten. A state that is then replayed still needs
	// a code, and the provider accepts each code once.
	maxUsed = 50_000
)

// Sealer protects the content of a browser's cookie from being read or altered.
type Sealer interface {
	Seal(purpose string, plain []byte) []byte
	Unseal(purpose string, sealed []byte) ([]byte, error)
}

// Login signs people in. It is safe for concurrent use.
type Login struct {
	provider *Provider
	sealer   Sealer
	// used are the states whose code was exchanged. Anyone can begin a sign-in and return its
	// state with an error or an invalid code; these states are not remembered.
	used      *memo.Memo[string, struct{}]
	loggedOut *memo.Memo[string, struct{}] // ids of logout tokens
}

// NewLogin signs people in with a provider.
func NewLogin(provider *Provider, sealer Sealer) *Login {
	return &Login{
		provider: provider, sealer: sealer,
		used:      memo.New[string, struct{}](maxUsed, PendingLifetime, provider.now),
		loggedOut: memo.New[string, struct{}](maxUsed, maxLogoutAge+skew, provider.now),
	}
}

// pending is a sign-in under way. Only the browser has it, sealed.
type pending struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Return   string    `json:"return"`
	Expires  time.Time `json:"expires"`
}

// Begin returns the address at the provider for the browser, and the content of its
// cookie until it is back. other asks the provider to let another person sign in even if the
// browser has a session there. Errors: ErrUnavailable.
func (l *Login) Begin(ctx context.Context, returnTo string, other bool) (address, cookie string, err error) {
	found, settings, err := l.provider.discover(ctx)
	if err != nil {
		return "", "", err
	}
	p := pending{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Return: ReturnPath(returnTo), Expires: l.provider.now().Add(PendingLifetime),
	}
	client := found.client(l.provider.clientID, settings)
	options := []oauth2.AuthCodeOption{oidc.Nonce(p.Nonce), oauth2.S256ChallengeOption(p.Verifier)}
	prompt := ""
	if other {
		prompt = "login"
	}
	if client.Scopes[len(client.Scopes)-1] == oidc.ScopeOfflineAccess {
		// OpenID Connect Core 11: without consent the scope is ignored.
		prompt = joined(prompt, "consent")
	}
	if prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
	}
	plain, err := json.Marshal(p)
	if err != nil {
		return "", "", err
	}
	cookie = base64.RawURLEncoding.EncodeToString(l.sealer.Seal(sealPurpose, plain))
	return client.AuthCodeURL(p.State, options...), cookie, nil
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// Finish checks the parameters of the provider's callback and the cookie of Begin,
// and returns the account that has signed in, and the path to return to. A cookie works until a
// code was exchanged with it. Errors: all of this package's.
func (l *Login) Finish(ctx context.Context, query url.Values, cookie string) (who Account, returnTo string, err error) {
	p, err := l.open(cookie)
	if err != nil {
		return Account{}, "/", err
	}
	state, code := one(query, "state"), one(query, "code")
	if subtle.ConstantTimeCompare([]byte(state), []byte(p.State)) != 1 {
		return Account{}, p.Return, ErrStale
	}
	if _, used := l.used.Get(p.State); used {
		return Account{}, p.Return, ErrStale
	}
	found, settings, err := l.provider.discover(ctx)
	if err != nil {
		return Account{}, p.Return, err
	}
	// RFC 9207: an answer of another provider, which got our state from its own
	// sign-in, must not be taken to this one.
	if issuer := one(query, "iss"); issuer != l.provider.issuer && (issuer != "" || query.Has("iss") || found.document.NamesIssuer) {
		return Account{}, p.Return, fmt.Errorf("%w: it comes from another provider", ErrAnswer)
	}
	if refused := one(query, "error"); refused != "" {
		return Account{}, p.Return, fmt.Errorf("%w: %q", ErrRefused, shortened(refused))
	}
	if code == "" {
		return Account{}, p.Return, fmt.Errorf("%w: no code", ErrAnswer)
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, l.provider.client), 2*callTimeout)
	defer cancel()
	token, err := found.client(l.provider.clientID, settings).Exchange(ctx, code, oauth2.VerifierOption(p.Verifier))
	if err != nil {
		return Account{}, p.Return, tokenError(err)
	}
	if !l.used.Add(p.State, struct{}{}) { // of two callbacks at once, one signs in
		return Account{}, p.Return, ErrStale
	}
	claims, err := l.provider.verified(ctx, found, token)
	if err != nil {
		return Account{}, p.Return, err
	}
	if nonce, _ := claims["nonce"].(string); subtle.ConstantTimeCompare([]byte(nonce), []byte(p.Nonce)) != 1 {
		return Account{}, p.Return, fmt.Errorf("%w: its nonce is not ours", ErrAnswer)
	}
	who, err = found.account(ctx, claims, token, settings)
	if err != nil {
		return Account{}, p.Return, err
	}
	who.Issuer, who.Refresh = l.provider.issuer, token.RefreshToken
	return who, p.Return, settings.admit(who)
}

func (l *Login) open(cookie string) (pending, error) {
	if len(cookie) > maxParameter {
		return pending{}, ErrStale
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return pending{}, ErrStale
	}
	plain, err := l.sealer.Unseal(sealPurpose, sealed)
	if err != nil {
		return pending{}, ErrStale
	}
	var p pending
	if err := json.Unmarshal(plain, &p); err != nil || p.State == "" || !l.provider.now().Before(p.Expires) {
		return pending{}, ErrStale
	}
	p.Return = ReturnPath(p.Return)
	return p, nil
}

// verified are the claims of the ID token that came with a token.
func (p *Provider) verified(ctx context.Context, found *discovered, token *oauth2.Token) (map[string]any, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, fmt.Errorf("%w: no ID token", ErrAnswer)
	}
	id, err := found.login.Verify(ctx, raw)
	if err != nil {
		if errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
	}
	if id.IssuedAt.After(p.now().Add(skew)) {
		return nil, fmt.Errorf("%w: it was issued in the future; check both clocks", ErrAnswer)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	// OpenID Connect Core 3.1.3.7: a token for several clients names the one that requested it.
	azp, _ := claims["azp"].(string)
	if azp != "" && azp != p.clientID || azp == "" && len(id.Audience) > 1 {
		return nil, fmt.Errorf("%w: it was made for another client", ErrAnswer)
	}
	return claims, nil
}

// tokenError distinguishes a provider that refuses from one that does not answer, and
// both from one that rejects our client. The provider's own words are left out: they
// may repeat the code or the token.
func tokenError(err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(err, &answer) || answer.Response == nil:
		return fmt.Errorf("%w: token endpoint: %w", ErrUnavailable, err)
	case answer.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: invalid_grant", ErrRefused)
	case answer.Response.StatusCode >= 500 || answer.Response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: the token endpoint answered %s", ErrUnavailable, answer.Response.Status)
	default:
		return fmt.Errorf("%w: the token endpoint answered %s %q", ErrAnswer, answer.Response.Status, shortened(answer.ErrorCode))
	}
}

// one returns a parameter that occurs exactly once (RFC 6749 3.1).
func one(query url.Values, name string) string {
	if values := query[name]; len(values) == 1 && len(values[0]) <= maxParameter {
		return values[0]
	}
	return ""
}

// shortened bounds and cleans texts from strangers for readers of the log.
func shortened(text string) string { return text[:min(len(text), 60)] }
