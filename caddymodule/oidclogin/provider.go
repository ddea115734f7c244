package oidclogin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
)

const (
	// callTimeout bounds one call to the provider, for which a person waits.
	callTimeout = 10 * time.Second
	// firstRetry and lastRetry bound the pause before a provider that failed is asked again.
	firstRetry, lastRetry = time.Second, 30 * time.Second
	// rediscover is how long the answer of discovery is used.
	rediscover = time.Hour
	// skew is by how much the provider's clock may be ahead or behind.
	skew = 2 * time.Minute
)

// The conditions of a sign-in, wrapped with what happened.
var (
	// ErrUnavailable: the provider could not be asked. Trying again later may help.
	ErrUnavailable = errors.New("the sign-in provider cannot be reached")
	// ErrStale: this browser has not begun this sign-in, has begun it too long ago, or has
	// already finished it.
	ErrStale = errors.New("this sign-in was not begun here, or is over")
	// ErrRefused: the provider refused.
	ErrRefused = errors.New("the sign-in provider refused")
	// ErrNotAllowed: the person is in none of the groups that may sign in.
	ErrNotAllowed = errors.New("not in a group that may sign in here")
	// ErrAnswer: the provider's answer cannot be believed or used.
	ErrAnswer = errors.New("the answer of the sign-in provider is not right")
)

// Config configures a Provider, apart from its issuer and client.
type Config struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Transport makes the calls. Default: http.DefaultTransport.
	Transport http.RoundTripper
}

// Settings may change while the provider is in use.
type Settings struct {
	// ClientSecret authenticates this registry. Empty: a public client.
	ClientSecret string
	// RedirectURL is the callback, as it is registered at the provider.
	RedirectURL string
	Scopes      []string
	// UsernameClaim and GroupsClaim name the claims.
	UsernameClaim, GroupsClaim string
	// AllowedGroups are the groups that may sign in. Empty: everyone may.
	AllowedGroups []string
}

// Provider is one client at one provider, for the whole process. It is safe for
// concurrent use.
type Provider struct {
	issuer, clientID string
	client           *http.Client
	now              func() time.Time

	mu       sync.Mutex // guards the fields below; never held during a call
	settings Settings
	found    *discovered
	foundAt  time.Time
	asking   chan struct{} // closed when discovery that runs now has ended
	failure  error
	failures int
	retryAt  time.Time
}

// discovered is the result of discovery.
type discovered struct {
	*oidc.Provider
	login, logout *oidc.IDTokenVerifier
	document      document
}

// document is the part of discovery that go-oidc leaves to us.
type document struct {
	Scopes      []string `json:"scopes_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	EndSession  string   `json:"end_session_endpoint"`
	Keys        string   `json:"jwks_uri"`
	NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"`
}

// New makes a provider. It makes no request.
func New(issuer, clientID string, config Config) *Provider {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Transport == nil {
		config.Transport = http.DefaultTransport
	}
	return &Provider{
		issuer: issuer, clientID: clientID, now: config.Now,
		client: jwks.Client(config.Transport, callTimeout, nil),
	}
}

// Destruct implements caddy.Destructor for the pool that shares the provider. There is nothing to
// close.
func (*Provider) Destruct() error { return nil }

// Configure sets the settings of the last configuration.
func (p *Provider) Configure(settings Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings = settings
}

// discover returns the provider's metadata, and requests it if it is not known.
// Concurrent callers wait for the same answer; after a failure all are refused for a while. Known
// metadata is used until newer metadata can be fetched.
func (p *Provider) discover(ctx context.Context) (*discovered, Settings, error) {
	for {
		p.mu.Lock()
		settings, now := p.settings, p.now()
		fresh := p.found != nil && now.Sub(p.foundAt) < rediscover
		if fresh || now.Before(p.retryAt) {
			found, failure := p.found, p.failure
			p.mu.Unlock()
			if found != nil {
				return found, settings, nil
			}
			return nil, settings, failure
		}
		asking := p.asking
		if asking == nil {
			asking = make(chan struct{})
			p.asking = asking
			// It belongs to all waiting callers, not to the first one.
			go p.ask(context.WithoutCancel(ctx), asking)
		}
		p.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return nil, settings, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

func (p *Provider) ask(ctx context.Context, done chan struct{}) {
	found, err := p.askNow(oidc.ClientContext(ctx, p.client))
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(done)
	p.asking = nil
	if err != nil {
		p.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
		p.retryAt = p.now().Add(min(firstRetry<<min(p.failures, 5), lastRetry))
		p.failures++
		return
	}
	p.found, p.foundAt, p.failure, p.failures, p.retryAt = found, p.now(), nil, 0, time.Time{}
}

func (p *Provider) askNow(ctx context.Context) (*discovered, error) {
	provider, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil {
		return nil, err
	}
	found := &discovered{Provider: provider}
	if err := provider.Claims(&found.document); err != nil {
		return nil, err
	}
	// go-oidc has kept those of the signing algorithms that it knows: neither none
	// nor one of the HMACs is among them.
	var signing struct {
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := provider.Claims(&signing); err != nil {
		return nil, err
	}
	keys := newKeySet(found.document.Keys, p.client, p.now)
	config := &oidc.Config{
		ClientID:             p.clientID,
		SupportedSigningAlgs: allowed(signing.Algorithms),
		Now:                  func() time.Time { return p.now().Add(-skew) },
	}
	found.login = oidc.NewVerifier(p.issuer, keys.view(loginRefetch), config)
	found.logout = oidc.NewVerifier(p.issuer, keys.view(logoutRefetch), config)
	return found, nil
}

// allowed returns the offered signature algorithms that prove the signer. A provider must support
// RS256.
func allowed(offered []string) []string {
	asymmetric := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512,
		oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
	}
	offered = slices.DeleteFunc(slices.Clone(offered), func(a string) bool { return !slices.Contains(asymmetric, a) })
	if len(offered) == 0 {
		return []string{oidc.RS256}
	}
	return offered
}

// client is the configuration of the code flow.
func (d *discovered) client(clientID string, settings Settings) *oauth2.Config {
	endpoint := d.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if methods := d.document.AuthMethods; len(methods) > 0 && !slices.Contains(methods, "client_secret_basic") ||
		settings.ClientSecret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: clientID, ClientSecret: settings.ClientSecret,
		Endpoint: endpoint, RedirectURL: settings.RedirectURL,
		Scopes: d.scopes(settings.Scopes),
	}
}

// scopes returns the scopes to request: offline_access only where it is offered, because a
// provider may refuse the whole sign-in for an unknown scope.
func (d *discovered) scopes(wanted []string) []string {
	scopes := slices.DeleteFunc(slices.Clone(wanted), func(s string) bool {
		return s == oidc.ScopeOpenID || s == oidc.ScopeOfflineAccess
	})
	scopes = slices.Insert(scopes, 0, oidc.ScopeOpenID)
	if slices.Contains(d.document.Scopes, oidc.ScopeOfflineAccess) {
		scopes = append(scopes, oidc.ScopeOfflineAccess)
	}
	return scopes
}
