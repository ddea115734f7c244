package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/memo"
)

// userAgent identifies this program to the upstream's operator.
const userAgent = "caddy-registry"

const (
	// maxHeader bounds the header of an answer, in bytes: a challenge, some limits, a link.
	maxHeader = 64 << 10
	// idleConnection is how long a connection waits for the next request: through a pull of
	// some images, and less than the minutes after which load balancers drop it unseen.
	idleConnection = 90 * time.Second
)

// shortRequests are connections to a host beyond those that blobs may take, so that
// a HEAD does not wait for 32 downloads.
const shortRequests = 8

// Client asks one upstream. It is safe for concurrent use; one should be shared by all users of
// the same upstream with the same credentials, for its tokens, rate limits and breaker.
type Client struct {
	*host
	anonymous bool
	nobody    bool // does not show a certificate either
}

type host struct {
	name      string
	config    Config
	log       *slog.Logger
	login     *authn.AuthConfig // nil: none
	endpoints []*endpoint
	guard     *guard
	own, any  *http.Transport // own has the client certificate
	slots     *transfers      // one for each blob in transfer
	lists     chan struct{}   // one for each list that is being read
	measured  *memo.Memo[digest.Digest, measured]
	misjudged *memo.Memo[digest.Digest, struct{}] // see likely
	refusal   sync.Once                           // logs once that requests succeed only without the credentials
	doubt     sync.Once                           // logs once that the credentials were never accepted
	accepted  atomic.Bool                         // the upstream has accepted the credentials at least once
	distrust  sync.Once                           // logs once that a realm may not see the credentials
	asked     atomic.Bool                         // a request has ended
}

// endpoint is one of Config.URLs.
type endpoint struct {
	base    *url.URL
	breaker breaker
	limits  limits
	tokens  tokens

	mu      sync.Mutex // guards the two
	learned bool
	method  method
}

// New checks c and reads its credentials file. It does not use the network.
func New(c Config) (*Client, error) {
	c = c.withDefaults()
	s := &host{name: c.Name, config: c, log: c.Log, slots: newTransfers(c.MaxConnections), lists: make(chan struct{}, listsAtOnce)}
	s.measured = memo.New[digest.Digest, measured](maxMeasured, measuredLife, nil)
	s.misjudged = memo.New[digest.Digest, struct{}](maxMeasured, measuredLife, nil)
	var bases []*url.URL
	for _, u := range c.URLs {
		base, err := parseBase(u)
		if err != nil {
			return nil, err
		}
		bases = append(bases, base)
		s.endpoints = append(s.endpoints, &endpoint{base: base, breaker: breaker{wait: c.Breaker}})
	}
	if len(bases) == 0 {
		return nil, fmt.Errorf("upstream of %s: missing url", c.Name)
	}
	var err error
	if s.login, err = login(c); err != nil {
		return nil, err
	}
	if s.guard, err = newGuard(bases, c.AllowPrivate, c.Dial, c.ConnectTimeout); err != nil {
		return nil, err
	}
	s.own, s.any = s.newTransport(c.Certificate), s.newTransport(nil)
	return &Client{host: s, anonymous: s.login == nil, nobody: s.login == nil && c.Certificate == nil}, nil
}

func (s *host) newTransport(certificate *tls.Certificate) *http.Transport {
	config := &tls.Config{RootCAs: s.config.CA, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	// No proxy from the environment: it would resolve names behind the guard's
	// back. HTTP/1.1 only: on one HTTP/2 connection all downloads share the speed
	// of one TCP stream, and hang together when it does.
	return &http.Transport{
		DialContext:            s.guard.dialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    s.config.ConnectTimeout,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxConnsPerHost:        s.config.MaxConnections + shortRequests,
		MaxIdleConnsPerHost:    s.config.MaxConnections,
		MaxResponseHeaderBytes: maxHeader,
		IdleConnTimeout:        idleConnection,
		DisableCompression:     true, // digests are of the bytes as they are stored
	}
}

// transport returns the transport for a URL's host.
func (c *Client) transport(u *url.URL) *http.Transport {
	if !c.nobody && slices.Contains(c.guard.own, hostPort(u)) {
		return c.own
	}
	return c.any
}

// Anonymous returns a client of the same upstream that presents neither credentials nor a client
// certificate. It gets only what the upstream shows to everyone.
func (c *Client) Anonymous() *Client {
	return &Client{host: c.host, anonymous: true, nobody: true}
}

// Credentialed reports whether c has credentials or a client certificate to show.
func (c *Client) Credentialed() bool { return !c.nobody }

// Limit returns the last pull limit that the upstream announced for c's credentials. With several
// URLs it is the one with the least left.
func (c *Client) Limit() Limit {
	var least Limit
	for _, ep := range c.endpoints {
		if l := ep.limits.get(c.anonymous); !l.At.IsZero() && (least.At.IsZero() || l.Remaining < least.Remaining) {
			least = l
		}
	}
	return least
}

// Close drops idle connections. Bodies that are open stay readable.
func (c *Client) Close() error {
	c.own.CloseIdleConnections()
	c.any.CloseIdleConnections()
	return nil
}

// question is one request, which any of the URLs may answer.
type question struct {
	method string
	repo   string
	path   string // below /v2/<repo>/, with its query
	header http.Header
	pull   bool // a manifest GET, which counts against the pull limit
	// unsure is set for a HEAD that a GET follows if it fails. Registries, and proxies
	// in front of them, often do not support HEAD, and answer it with any status:
	// ErrNoDigest.
	unsure bool
	// named is set for a manifest, whose digest decides: a coding that cannot be
	// undone may be one that the bytes do not have.
	named bool
	// asIs leaves the coding of an answer to the caller.
	asIs bool
	// within bounds the whole; 0: only stalls are bounded.
	within time.Duration
	// read reads a bounded answer while the request's timeouts still run. nil: the
	// reply is returned open.
	read func(*reply) error
}

// ask tries the URLs in order until one gives an answer, good or bad: everything but
// trouble is final. At each URL, a GET that was answered oddly is repeated once; a
// HEAD is not, because a GET follows it (see question.unsure).
func (c *Client) ask(ctx context.Context, q question) (*reply, error) {
	var last error
	for i, ep := range c.endpoints {
		op := fmt.Sprintf("%s %s/%s at %s", q.method, q.repo, printable(q.path), ep.base.Host)
		way := newPass(q.repo, c.anonymous, q.pull)
		if c.nobody && c.config.Certificate != nil {
			// A URL that insists on the certificate is not a failure by itself.
			way.upstream = "upstream without certificate"
		}
		if refused := ep.breaker.enter(way); refused != nil {
			refused.Op = op
			if last == nil {
				last = refused
			}
			continue
		}
		share := q
		// The last URL may use all the remaining time, each other one its share.
		share.within /= time.Duration(len(c.endpoints) - i)
		began := time.Now()
		r, err := c.attempt(ctx, ep, share, op)
		var e *Error
		if errors.As(err, &e) && e.odd() && ctx.Err() == nil && (q.method == http.MethodGet || e.from == realm) {
			if share.within > 0 {
				share.within = max(share.within-time.Since(began), time.Millisecond)
			}
			r, err = c.attempt(ctx, ep, share, op)
		}
		ep.breaker.leave(way, err, ctx.Err() != nil)
		if ctx.Err() == nil {
			c.asked.Store(true)
		}
		if err == nil || ctx.Err() != nil || !errors.As(err, &e) || !e.nextURL() {
			return r, err
		}
		last = err
		if q.within > 0 {
			q.within = max(q.within-time.Since(began), time.Millisecond)
		}
	}
	return nil, last
}

func (c *Client) attempt(ctx context.Context, ep *endpoint, q question, op string) (*reply, error) {
	t := newTrip(ctx, op, q.within, c.config.StallTimeout)
	r, err := c.authorized(t, ep, q)
	if err == nil {
		err = r.check(c.config.Breaker)
		if q.unsure && r.mayLie() {
			err = r.fail(ErrNoDigest, "HEAD is answered with an error, which a GET has to confirm")
		}
	}
	if err == nil && q.read != nil {
		err = q.read(r)
	}
	if err != nil || q.read != nil {
		if r != nil {
			r.Close()
		}
		t.end()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// authorized asks with the credentials and, when they are refused, without: stale
// credentials must not break access to public content.
func (c *Client) authorized(t *trip, ep *endpoint, q question) (*reply, error) {
	r, err := c.as(t, ep, q, c.anonymous)
	switch {
	case c.anonymous && errors.Is(err, errRefused):
		return nil, &Error{Condition: ErrNotFound, Op: t.op, cause: err, from: realm}
	case c.anonymous, err != nil && !errors.Is(err, errRefused):
		return r, err
	case err == nil && !r.refusal():
		if m, ok := ep.known(); ok && m.realm == "" {
			c.accepted.Store(true)
		}
		return r, nil
	}
	noToken, wrong := r == nil, errors.Is(err, errLogin)
	if !noToken {
		// A caller that got a token is known there, and only lacks the right.
		m, ok := ep.known()
		wrong = r.StatusCode == http.StatusUnauthorized && ok && m.realm == ""
		r.Close()
	}
	r, err = c.as(t, ep, q, true)
	shown := err == nil && r.StatusCode < 400
	if wrong && !shown && !c.accepted.Load() {
		c.doubt.Do(func() {
			c.log.Warn("the upstream refuses the stored credentials with 401 and has never accepted them; check user and password, and whether they have expired",
				"mirror", c.name, "upstream", ep.base.Host, "repository", q.repo)
		})
	}
	if errors.Is(err, errRefused) {
		return nil, &Error{Condition: ErrNotFound, Op: t.op, cause: err, from: realm}
	}
	if shown {
		if m, ok := ep.known(); ok && noToken {
			ep.tokens.refuse(tokenKey(m, q.repo, false))
		}
		c.doubt.Do(func() {}) // this error is more specific
		c.refusal.Do(func() {
			c.log.Warn("the upstream refuses the stored credentials for something that it shows to anonymous callers; they may have expired",
				"mirror", c.name, "upstream", ep.base.Host, "repository", q.repo)
		})
	}
	return r, err
}

// as asks once, and once more if the upstream's challenge is new.
//
// An earlier challenge is not trusted forever: if it no longer yields a token, the
// request is made without one, and the challenge of the answer decides. In this way a
// change of the token endpoint or the scheme is followed, and so is a single wrong
// challenge.
func (c *Client) as(t *trip, ep *endpoint, q question, anonymous bool) (*reply, error) {
	m, learned := ep.known()
	var auth string
	var fresh bool
	var failed error
	if learned {
		auth, fresh, failed = c.authorization(t, ep, m, q.repo, anonymous)
	}
	if failed != nil {
		refused := errors.Is(failed, errRefused)
		if !refused && t.caller.Err() == nil && !errors.Is(failed, ErrRateLimited) {
			ep.unlearn(m)
		}
		if t.ctx.Err() != nil || errors.Is(failed, ErrRateLimited) || refused && (!fresh || t.challenged(m)) {
			return nil, failed
		}
		auth = ""
	}
	r, err := c.send(t, ep, q, auth, anonymous)
	if err != nil {
		return nil, err
	}
	now, challenged := r.challenge()
	if challenged {
		t.challenge = &now
	}
	if failed != nil && (challenged && now == m || !challenged && r.StatusCode >= 400) {
		// The same was tried a moment ago, or this answers a request without a token,
		// which does not settle ours.
		r.Close()
		return nil, failed
	}
	if !challenged {
		return r, nil
	}
	if news := ep.learn(now); !news && fresh {
		return r, nil // it refuses its own token
	}
	if token, ok := cutBearer(auth); ok {
		ep.tokens.drop(tokenKey(now, q.repo, anonymous), token)
	}
	again, _, err := c.authorization(t, ep, now, q.repo, anonymous)
	if err == nil && again == auth {
		return r, nil
	}
	r.Close()
	if err != nil {
		if !errors.Is(err, errRefused) {
			ep.unlearn(now)
		}
		return nil, err
	}
	return c.send(t, ep, q, again, anonymous)
}
