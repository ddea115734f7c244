package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// The conditions of an upstream's failure, as a mirror distinguishes them. Compare with
// errors.Is; an *Error has the details. If the caller ended the context, the error is
// the context's own, and does not count against the upstream.
var (
	// ErrNotFound: the registry answered 404 or 410, or its token endpoint refused even
	// an anonymous caller, which is how GHCR answers for private and missing
	// repositories. VerdictOf distinguishes the two.
	ErrNotFound = errors.New("not found upstream")
	// ErrDenied: the registry answered 401 or 403, also after the anonymous try.
	ErrDenied = errors.New("denied by upstream")
	// ErrRateLimited: 429. Error.Until says when to ask again.
	ErrRateLimited = errors.New("rate limited by upstream")
	// ErrUnavailable: 5xx, connection refused, no DNS, TLS, cut off, not asked because
	// it failed a moment ago, or an answer that is not a registry's (see verdict.go).
	ErrUnavailable = errors.New("upstream unavailable")
	// ErrTimeout: a timeout of Config passed.
	ErrTimeout = errors.New("upstream timed out")
	// ErrTooLarge: the answer is larger than its kind may be.
	ErrTooLarge = errors.New("upstream's answer is too large")
	// ErrNoDigest: HEAD was answered with an error that a GET might not get, or its 200
	// names no digest. Only a GET can find out.
	ErrNoDigest = errors.New("upstream did not name the digest")
	// ErrCorrupt: the bytes are not the requested content.
	ErrCorrupt = errors.New("upstream sent other content than requested")
	// ErrInvalid: the registry has the image only as Docker schema 1.
	ErrInvalid = errors.New("upstream sent no usable manifest")
)

// Error is a failure with its details.
type Error struct {
	// Condition is one of the values above.
	Condition error
	// Op names the request and the host: "HEAD library/nginx:latest at
	// registry-1.docker.io".
	Op string
	// Status is the HTTP status, or 0 if there was no answer.
	Status int
	// Until is when it makes sense to ask again: the time of Retry-After, at most six
	// hours, or the end of Config.Breaker. Zero: unknown.
	Until time.Time
	// Since is the first failure of this kind without a success since. Only State sets it.
	Since time.Time
	// PullLimit distinguishes the limit on manifest GETs, under which HEAD and blobs
	// still work, from the limit on all requests. Docker Hub has both.
	PullLimit bool
	// Skipped: no request was made, because of an earlier failure.
	Skipped bool

	cause error
	// from is the host that failed.
	from stage
	// complete is the whole size that a 416 names.
	complete int64
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Op, e.Condition)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", e.Status)
	}
	if e.Skipped {
		b.WriteString(" (not asked again yet)")
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %s", e.cause)
	}
	return b.String()
}

// Public returns the text that any client may see: without hosts and requests.
func (e *Error) Public() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s (status %d)", e.Condition, e.Status)
	}
	return e.Condition.Error()
}

// Unwrap returns only the condition: the cause may be a deadline of ours, which must
// not be mistaken for the caller's.
func (e *Error) Unwrap() error { return e.Condition }

// Causes of a context that this package ended.
var (
	errStalled  = errors.New("no byte within the stall timeout")
	errHeadTime = errors.New("no answer within the head timeout")
)

// failure makes an Error of a network error. If the caller's own context has ended, it
// returns that error.
func failure(caller, attempt context.Context, op string, from stage, err error) error {
	if caller.Err() != nil {
		return context.Cause(caller)
	}
	condition := ErrUnavailable
	cause := context.Cause(attempt)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(cause, errStalled), errors.Is(cause, errHeadTime):
		condition, err = ErrTimeout, cause
	case errors.As(err, &timeout) && timeout.Timeout():
		condition = ErrTimeout
	}
	return &Error{Condition: condition, Op: op, cause: bare(err), from: from}
}

// bare drops the URL that net/http puts around errors: a signed one is a secret.
func bare(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}
