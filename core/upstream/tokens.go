package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"
)

const (
	// maxTokens bounds the cache: repositories come from clients.
	maxTokens = 1024
	// defaultTokenLife is the spec's for an answer that does not say.
	defaultTokenLife = time.Minute
	maxTokenLife     = time.Hour
	// maxAhead is the most by which a token is renewed before it expires.
	maxAhead = 30 * time.Second
	// refusedFor is how long credentials are not tried again for a repository that refused them
	// and is readable anonymously: each try costs a request.
	refusedFor = 5 * time.Minute
)

// errRefused: the token endpoint answered 401 or 403.
var errRefused = errors.New("the token endpoint refused")

// errLogin: it answered 401 to the stored credentials. That is the answer to a wrong password,
// but GHCR also sends it for private or missing repositories.
var errLogin = fmt.Errorf("%w: 401", errRefused)

// tokens are the bearer tokens of one upstream, by scope and credential. One request
// renews a token for all waiting callers.
type tokens struct {
	flights singleflight.Group

	mu    sync.Mutex // guards cache
	cache map[string]token
}

type token struct {
	value string
	until time.Time
	// refused remembers that a token was refused.
	refused bool
}

// get returns a token from the cache or from fetch. fetch runs once for all callers
// and does not end with any of them. fresh reports that the token is new.
func (t *tokens) get(ctx context.Context, key string, timeout time.Duration, fetch func(context.Context) (token, error)) (value string, fresh bool, err error) {
	if tok, ok := t.cached(key); ok {
		return tok.result(false)
	}
	flight := t.flights.DoChan(key, func() (any, error) {
		if tok, ok := t.cached(key); ok { // the flight before this one
			return tok, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		tok, err := fetch(ctx)
		if err == nil {
			t.keep(key, tok)
		}
		return tok, err
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return "", true, r.Err
		}
		return r.Val.(token).result(true)
	case <-ctx.Done():
		return "", false, context.Cause(ctx)
	}
}

// refuse remembers that the credentials are useless for key.
func (t *tokens) refuse(key string) {
	t.keep(key, token{refused: true, until: time.Now().Add(refusedFor)})
}

func (t token) result(fresh bool) (string, bool, error) {
	if t.refused {
		return "", fresh, errRefused
	}
	return t.value, fresh, nil
}

func (t *tokens) cached(key string) (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok, ok := t.cache[key]
	return tok, ok && time.Now().Before(tok.until)
}

func (t *tokens) keep(key string, tok token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cache == nil {
		t.cache = make(map[string]token)
	}
	if len(t.cache) >= maxTokens {
		// Drop any entry: it costs only one request.
		for k := range t.cache {
			delete(t.cache, k)
			break
		}
	}
	t.cache[key] = tok
}

// drop forgets a token that the upstream did not accept, unless another caller
// replaced it already.
func (t *tokens) drop(key, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cache[key].value == value {
		delete(t.cache, key)
	}
}

// forget makes the next caller get a new token.
func (t *tokens) forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cache, key)
}

// exchange asks the realm for a token to pull repo. It returns errRefused, or an
// error of this package for op.
func (c *Client) exchange(ctx context.Context, ep *endpoint, m method, repo string, anonymous bool, op string) (token, error) {
	at, err := c.realm(ep.base, m, op)
	if err != nil {
		return token{}, err
	}
	auth := authn.Anonymous
	if !anonymous {
		if !c.guard.trusts(ep.base, at) {
			c.distrust.Do(func() {
				c.log.Warn("credentials are not sent to a token endpoint of another domain; allow_private with its host:port would allow it",
					"mirror", c.name, "realm", printable(at.Host))
			})
			return token{}, errRefused
		}
		auth = authn.FromConfig(*c.login)
	}
	scopes := []string{"repository:" + repo + ":pull"}
	if m.scope != "" {
		scopes = append(scopes, m.scope)
	}
	trip := &realmTrip{transport: traced{c.transport(at), c.name, "token"}, realm: at, wait: c.config.Breaker}
	tok, err := trip.exchange(ctx, m, scopes, auth, op)
	switch {
	case err == nil && !anonymous:
		c.accepted.Store(true)
	case err == errRefused && !anonymous && trip.answer.StatusCode == http.StatusUnauthorized:
		err = errLogin
	}
	return tok, err
}

// realm returns the URL of m's token endpoint, if from may send there.
func (c *Client) realm(from *url.URL, m method, op string) (*url.URL, error) {
	at, err := url.Parse(m.realm)
	if err == nil {
		err = c.guard.step(from, at)
	}
	if err != nil {
		return nil, tokenTrouble(op, fmt.Errorf("token realm: %w", bare(err)))
	}
	return at, nil
}

// exchange makes the request. Errors: errRefused, or one of this package for op.
func (t *realmTrip) exchange(ctx context.Context, m method, scopes []string, auth authn.Authenticator, op string) (token, error) {
	// The library refuses private realms of other hosts by their spelling. The guard has already
	// decided by address, so the realm is passed to the library as the registry.
	registry, err := name.NewRegistry(t.realm.Host, name.WeakValidation)
	if err != nil {
		return token{}, tokenTrouble(op, errors.New("token realm: not a host"))
	}
	asked := time.Now()
	got, err := transport.Exchange(ctx, registry, auth, t, scopes, &transport.Challenge{
		Scheme:     "bearer",
		Parameters: map[string]string{"realm": m.realm, "service": m.service},
		Insecure:   t.realm.Scheme == "http",
	})
	if err != nil {
		return token{}, t.failure(ctx, op, err)
	}
	value := got.Token
	if value == "" {
		value = got.AccessToken
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return token{}, tokenTrouble(op, errors.New("token endpoint: the token is invalid"))
	}
	life := time.Duration(min(max(got.ExpiresIn, 0), int(maxTokenLife/time.Second))) * time.Second
	if life == 0 {
		life = defaultTokenLife
	}
	return token{value: value, until: asked.Add(life - min(life/10, maxAhead))}, nil
}

// realmTrip carries one token exchange and keeps the endpoint's answer.
type realmTrip struct {
	transport http.RoundTripper
	realm     *url.URL
	wait      time.Duration // the wait for a 429 that does not name one
	answer    *http.Response
}

// RoundTrip refuses redirects to another host: the request carries the credentials,
// an identity token even in its body.
func (t *realmTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if hostPort(r.URL) != hostPort(t.realm) || r.URL.Scheme != t.realm.Scheme {
		return nil, errors.New("the token endpoint redirects to another host")
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := t.transport.RoundTrip(r)
	t.answer = resp
	if err == nil && decode(resp) != nil {
		// The library reads no token from it then.
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, err
}

// failure reads an exchange's error from the endpoint's status. The library's own
// error is not shown: it may repeat the answer, which may contain a token.
func (t *realmTrip) failure(ctx context.Context, op string, err error) error {
	op += ": token endpoint"
	if t.answer == nil {
		return failure(context.Background(), ctx, op, realm, err)
	}
	e := &Error{Op: op, Status: t.answer.StatusCode, from: realm}
	e.Condition = condition(e.from, e.Status)
	switch {
	case e.Condition == ErrNotFound:
		return errRefused
	case e.Condition == ErrRateLimited:
		e.Until = retryAfter(t.answer.Header.Get("Retry-After"), time.Now(), t.wait)
	case e.Status < 400:
		e.cause = errors.New("there is no token in the answer")
	}
	return e
}

func tokenTrouble(op string, cause error) error {
	return &Error{Condition: ErrUnavailable, Op: op, cause: cause, from: realm}
}
