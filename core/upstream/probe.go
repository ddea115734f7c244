package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"
)

// Found is the result of a probe of one of an upstream's URLs.
type Found struct {
	URL string
	// Err is why the request failed, or why a token was refused.
	Err error
	// Status is the status of the answer to /v2/.
	Status int
	// TLS is the version, and Expires the end of the certificate; empty without TLS.
	TLS     string
	Expires time.Time
	// Skew is how far the upstream's clock is ahead of ours, by its Date header, which
	// has whole seconds. Dated reports whether it had one.
	Skew  time.Duration
	Dated bool
	// Auth is its authentication method: "none", "basic", or "token".
	Auth string
	// Realm is where its tokens come from.
	Realm string
	// Limit is the pull limit that it announced, if any.
	Limit Limit
}

// Probe examines every URL of the upstream, on behalf of an operator: it ignores the breaker and
// does not count against it. If the upstream wants a token, Probe requests one for repo, unless
// that is empty, and with it a HEAD of repo's tag, which does not count as a pull and shows the
// limit if there is one.
func (c *Client) Probe(ctx context.Context, repo, tag string) []Found {
	var all []Found
	for _, ep := range c.endpoints {
		f := Found{URL: ep.base.String()}
		f.Err = c.look(ctx, ep, &f)
		if f.Err == nil && repo != "" {
			f.Err = c.lookCloser(ctx, ep, repo, tag)
			f.Limit = ep.limits.get(c.anonymous)
		}
		all = append(all, f)
	}
	return all
}

// look asks for /v2/ without credentials.
func (c *Client) look(ctx context.Context, ep *endpoint, f *Found) error {
	attempt, cancel := context.WithTimeoutCause(ctx, c.config.ConnectTimeout+c.config.HeadTimeout, errHeadTime)
	defer cancel()
	op := "GET /v2/ at " + ep.base.Host
	request, err := http.NewRequestWithContext(attempt, http.MethodGet, ep.base.JoinPath("/v2/").String(), nil)
	if err != nil {
		return &Error{Condition: ErrUnavailable, Op: op, cause: bare(err)}
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept-Encoding", "identity")
	asked := time.Now()
	response, err := c.transport(ep.base).RoundTrip(request)
	if err != nil {
		return failure(ctx, attempt, op, registry, err)
	}
	defer response.Body.Close()
	f.Status = response.StatusCode
	// The header was written between the two: half of the way is subtracted.
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		between := asked.Add(time.Since(asked) / 2)
		f.Skew, f.Dated = date.Sub(between).Round(time.Second), true
	}
	if state := response.TLS; state != nil {
		f.TLS, f.Expires = tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter
	}
	switch m, ok := choose(parseChallenges(response.Header.Values("WWW-Authenticate"))); {
	case response.StatusCode == http.StatusOK:
		f.Auth = "none"
	case response.StatusCode != http.StatusUnauthorized || !ok:
		return &Error{Condition: ErrUnavailable, Op: op, Status: response.StatusCode, cause: errors.New("this is not how a registry answers")}
	default:
		f.Auth, f.Realm = m.auth(), m.realm
	}
	return nil
}

// lookCloser asks for a tag, with the authorization that the upstream wants. A missing
// tag is not an error.
func (c *Client) lookCloser(ctx context.Context, ep *endpoint, repo, tag string) error {
	q := question{
		method: http.MethodHead, repo: repo, path: "manifests/" + tag,
		header: http.Header{"Accept": {accept}}, within: c.config.HeadTimeout,
		read: func(*reply) error { return nil },
	}
	_, err := c.attempt(ctx, ep, q, "HEAD "+repo+":"+tag+" at "+ep.base.Host)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
