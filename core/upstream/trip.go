package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxRedirects suffices for a registry that redirects to a storage that
	// redirects to its region.
	maxRedirects = 5
	// maxErrorBody bounds how much of an error's explanation is read.
	maxErrorBody = 16 << 10
)

// trip is one request with its retries and redirects. Its context ends when the
// upstream brings nothing for too long.
type trip struct {
	caller context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	op     string
	within context.CancelFunc // nil without a bound
	stall  time.Duration
	timer  *time.Timer
	// challenge is the last one that the registry answered with on this trip.
	challenge *method
}

// challenged reports whether the registry has just asked for m.
func (t *trip) challenged(m method) bool { return t.challenge != nil && *t.challenge == m }

func newTrip(caller context.Context, op string, within, stall time.Duration) *trip {
	t := &trip{caller: caller, op: op, stall: stall}
	ctx := caller
	if within > 0 {
		ctx, t.within = context.WithTimeoutCause(ctx, within, errHeadTime)
	}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.timer = time.AfterFunc(stall, func() { t.cancel(errStalled) })
	return t
}

// arm starts the stall timer, disarm stops it: only the upstream's time counts,
// never that of a slow reader.
func (t *trip) arm()    { t.timer.Reset(t.stall) }
func (t *trip) disarm() { t.timer.Stop() }

func (t *trip) end() {
	t.timer.Stop()
	t.cancel(nil)
	if t.within != nil {
		t.within()
	}
}

// send makes the request and follows its redirects.
func (c *Client) send(t *trip, ep *endpoint, q question, auth string, anonymous bool) (*reply, error) {
	target, err := ep.base.Parse("/v2/" + q.repo + "/" + q.path)
	if err != nil {
		return nil, &Error{Condition: ErrUnavailable, Op: t.op, cause: bare(err)}
	}
	met := strangers{}
	for redirected := 0; redirected <= maxRedirects; {
		elsewhere := hostPort(target) != hostPort(ep.base)
		req := (&http.Request{Method: q.method, URL: target, Host: target.Host, Header: q.header.Clone()}).WithContext(t.ctx)
		if req.Header == nil {
			req.Header = http.Header{}
		}
		req.Header.Set("User-Agent", userAgent)
		req.Header.Set("Accept-Encoding", "identity") // see decode
		if auth != "" && !elsewhere && target.Scheme == ep.base.Scheme {
			req.Header.Set("Authorization", auth)
		} else if s, ok := met[origin(target)]; ok && elsewhere {
			req.Header.Set("Authorization", "Bearer "+s.value)
		}
		t.arm()
		resp, err := traced{c.transport(target), c.name, q.kind(elsewhere)}.RoundTrip(req)
		t.disarm()
		if err != nil {
			return nil, failure(t.caller, t.ctx, t.op, stageOf(elsewhere), err)
		}
		if !elsewhere {
			ep.limits.note(anonymous, resp.Header)
		}
		r := &reply{Response: resp, trip: t, base: ep.base, elsewhere: elsewhere, anonymous: (anonymous || auth == "") && (c.nobody || c.config.Certificate == nil)}
		if elsewhere && resp.StatusCode == http.StatusUnauthorized {
			ok, err := c.introduce(met, t, ep, q.repo, target, resp)
			if ok || err != nil {
				r.Close()
			}
			if err != nil {
				return nil, err
			}
			if ok {
				continue
			}
		}
		if !redirects(resp) {
			if q.asIs && resp.StatusCode < 300 {
				return r, nil
			}
			if err := decode(resp); err != nil && resp.StatusCode < 300 && !q.named {
				resp.Body.Close()
				return nil, r.fail(ErrUnavailable, err.Error())
			}
			return r, nil
		}
		r.Close()
		next, err := target.Parse(resp.Header.Get("Location"))
		if err == nil {
			err = c.guard.step(target, next)
		}
		if err != nil {
			return nil, &Error{Condition: ErrUnavailable, Op: t.op, Status: resp.StatusCode, cause: bare(err), from: stageOf(elsewhere)}
		}
		target = next
		redirected++
	}
	return nil, &Error{Condition: ErrUnavailable, Op: t.op, cause: errors.New("too many redirects"), from: away}
}

func redirects(r *http.Response) bool {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return r.Header.Get("Location") != ""
	}
	return false
}

// reply is an answer whose body is read under the trip's stall timeout.
type reply struct {
	*http.Response
	trip *trip
	base *url.URL
	// elsewhere: the answer came from a host to which the upstream redirected.
	elsewhere bool
	anonymous bool
}

// Read reads the body. A body that ends early is an error, never a clean end.
func (r *reply) Read(p []byte) (int, error) {
	r.trip.arm()
	n, err := r.Body.Read(p)
	r.trip.disarm()
	if err == nil || err == io.EOF {
		return n, err
	}
	err = failure(r.trip.caller, r.trip.ctx, r.trip.op, stageOf(r.elsewhere), err)
	var e *Error
	if errors.As(err, &e) {
		e.Status = r.StatusCode // it had answered, so this does not affect other requests
	}
	return n, err
}

// Close ends the answer, but not the trip, which may ask again.
func (r *reply) Close() error {
	if r.StatusCode >= 300 && r.Request.Method != http.MethodHead {
		// The short body of an error or a redirect is read, to keep the
		// connection.
		_, _ = io.CopyN(io.Discard, r, maxErrorBody)
	}
	return r.Body.Close()
}

// challenge returns the registry's own challenge, if it has one.
func (r *reply) challenge() (m method, ok bool) {
	if r.elsewhere || r.StatusCode != http.StatusUnauthorized {
		return method{}, false
	}
	return choose(parseChallenges(r.Header.Values("WWW-Authenticate")))
}

// mayLie reports whether a GET may succeed although this was the answer to a HEAD.
// An upstream that is down, or limits us, is not asked again at once.
func (r *reply) mayLie() bool {
	return r.StatusCode >= 300 && r.StatusCode < 500 && r.StatusCode != http.StatusTooManyRequests ||
		r.StatusCode == http.StatusNotImplemented
}

// refusal reports whether the upstream itself refused the caller.
func (r *reply) refusal() bool {
	return !r.elsewhere && (r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden)
}

func (r *reply) fail(condition error, cause string) error {
	return &Error{Condition: condition, Op: r.trip.op, Status: r.StatusCode, cause: errors.New(cause), from: stageOf(r.elsewhere)}
}

// check makes an error of a status that is not a success. wait is the wait for a
// 429 that does not name one.
func (r *reply) check(wait time.Duration) error {
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return nil
	}
	e := &Error{Op: r.trip.op, Status: r.StatusCode, from: stageOf(r.elsewhere)}
	e.Condition = condition(e.from, e.Status)
	switch {
	case e.Condition == ErrRateLimited:
		e.Until = retryAfter(r.Header.Get("Retry-After"), time.Now(), wait)
		var body bytes.Buffer
		_, _ = io.CopyN(&body, r, maxErrorBody) // an incomplete explanation is still useful
		e.PullLimit = pullLimit(r.Header, body.Bytes())
		e.cause = errors.New(printable(strings.TrimSpace(body.String())))
	case e.Status == http.StatusRequestedRangeNotSatisfiable:
		e.complete = completeLength(r.Header.Get("Content-Range"))
	case e.Status >= 500:
		if after := r.Header.Get("Retry-After"); after != "" {
			e.Until = retryAfter(after, time.Now(), wait)
		}
	}
	return e
}
