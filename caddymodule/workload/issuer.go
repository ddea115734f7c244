package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
)

const (
	// callTimeout bounds one call to an issuer, for which a job waits.
	callTimeout = 5 * time.Second
	// keyLife is how long keys are trusted. After that, keys that the issuer withdrew
	// are refused here, too.
	keyLife = time.Hour
	// refetch is the least interval between two fetches of the keys for signatures by unknown
	// keys. Anyone can send such a token, and a flood of them must not become a flood of calls to
	// the issuer. A job waits that long at worst after the keys were changed.
	refetch = 10 * time.Second
	// firstRetry and lastRetry bound the pause before an issuer that failed is asked again.
	firstRetry, lastRetry = time.Second, 30 * time.Second
)

// ErrUnavailable: the issuer could not be asked for its keys. Trying again later may help.
var ErrUnavailable = errors.New("the issuer cannot be asked for its keys")

// Config configures an Issuer, apart from its address.
type Config struct {
	// Log gets one line when the issuer stops answering, and one when it answers
	// again. Default: nothing is logged.
	Log *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Transport makes the calls, unless Files name authorities. Default:
	// http.DefaultTransport.
	Transport http.RoundTripper
	// Files configure requests to a private issuer. They must have been checked.
	Files Files
}

// Issuer is one issuer, for the whole process. It is safe for concurrent use.
type Issuer struct {
	url       string
	transport http.RoundTripper
	files     Files
	log       *slog.Logger
	now       func() time.Time

	held atomic.Pointer[published] // nil: nothing yet

	mu       sync.Mutex    // guards the fields below; never held during a call
	asking   chan struct{} // closed when the question that is under way is answered
	askAgain time.Time     // not before
	failure  error         // of the last question
	failures int           // in a row
}

// published is the issuer's answer.
type published struct {
	keys []jose.JSONWebKey
	at   time.Time
}

// New makes an issuer. It makes no request. url is the iss of its tokens.
func New(url string, config Config) *Issuer {
	i := &Issuer{url: url, transport: config.Transport, files: config.Files, log: config.Log, now: config.Now}
	if i.log == nil {
		i.log = slog.New(slog.DiscardHandler)
	}
	if i.now == nil {
		i.now = time.Now
	}
	if i.transport == nil {
		i.transport = http.DefaultTransport
	}
	return i
}

// URL returns the iss of the issuer's tokens.
func (i *Issuer) URL() string { return i.url }

// Destruct implements caddy.Destructor for the pool that shares the issuer. There is nothing to
// close.
func (*Issuer) Destruct() error { return nil }

// private refuses an address on the way to which others could put in keys of their own.
// An issuer on plain HTTP is one on loopback, in a test.
func (i *Issuer) private(address *url.URL) error {
	if own, err := url.Parse(i.url); err != nil || address.Scheme != "https" && address.Scheme != own.Scheme {
		return fmt.Errorf("%s is not https", address.Redacted())
	}
	return nil
}

// payload returns the content of a token, if a key of the issuer has signed it. It asks the
// issuer if that is needed, once for all waiting callers. Errors: ErrUnavailable, and ErrToken if
// the issuer has no such key.
func (i *Issuer) payload(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	for {
		now, held := i.now(), i.held.Load()
		if held != nil && now.Sub(held.at) < keyLife {
			if payload, ok := jwks.Verify(token, held.keys); ok {
				return payload, nil
			}
		}
		i.mu.Lock()
		if i.held.Load() != held {
			i.mu.Unlock()
			continue
		}
		if i.asking == nil {
			if now.Before(i.askAgain) {
				failure := i.failure
				i.mu.Unlock()
				if failure != nil {
					return nil, failure
				}
				return nil, fmt.Errorf("%w: no key of the issuer has signed it", ErrToken)
			}
			i.asking = make(chan struct{})
			// It belongs to all waiting callers, not to the first one.
			go i.ask(context.WithoutCancel(ctx), i.asking)
		}
		asking := i.asking
		i.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

func (i *Issuer) ask(ctx context.Context, done chan struct{}) {
	keys, err := i.fetch(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	defer close(done)
	i.asking = nil
	if err != nil {
		if i.failures == 0 {
			i.log.Warn("a trusted issuer cannot be asked for its keys: tokens that no known key has signed are answered with 503", "issuer", i.url, "error", err)
		}
		i.failure = fmt.Errorf("%w: %s: %w", ErrUnavailable, i.url, err)
		i.askAgain = i.now().Add(min(firstRetry<<min(i.failures, 5), lastRetry))
		i.failures++
		return
	}
	if i.failures > 0 {
		i.log.Info("a trusted issuer can be asked again", "issuer", i.url)
	}
	now := i.now()
	i.held.Store(&published{keys, now})
	i.failure, i.failures, i.askAgain = nil, 0, now.Add(refetch)
}
