package upstream

import (
	"errors"
	"net/http"
)

// stage is the party that answered, or failed to answer, within one exchange.
type stage int

const (
	registry stage = iota // the host of one of Config.URLs
	realm                 // its token endpoint
	away                  // a host to which it redirected, and that host's token endpoint
)

func stageOf(elsewhere bool) stage {
	if elsewhere {
		return away
	}
	return registry
}

// condition is the one table of the conditions for statuses other than 2xx:
//
//	                  registry         realm            away
//	401, 403          ErrDenied        ErrNotFound      ErrUnavailable
//	404, 410          ErrNotFound      ErrUnavailable   ErrUnavailable
//	416               ErrCorrupt       ErrUnavailable   ErrCorrupt
//	429               ErrRateLimited   ErrRateLimited   ErrRateLimited
//	any other         ErrUnavailable   ErrUnavailable   ErrUnavailable
//
// Only the registry itself and its realm can refuse. Others between us and it (a portal,
// a proxy, a storage whose signature has expired, a token endpoint that has moved)
// answer with statuses of their own, which say nothing about what the registry holds.
func condition(from stage, status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		switch from {
		case registry:
			return ErrDenied
		case realm:
			return ErrNotFound
		}
	case http.StatusNotFound, http.StatusGone:
		if from == registry {
			return ErrNotFound
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if from != realm {
			return ErrCorrupt
		}
	case http.StatusTooManyRequests:
		return ErrRateLimited
	}
	return ErrUnavailable
}

// Verdict is the meaning of a failure for the content that a mirror already holds.
type Verdict int

const (
	// Trouble says nothing about what the registry holds: it could not be asked, or the
	// answer is not its own. Held content is served, as long as it may be stale.
	Trouble Verdict = iota
	// Limited is trouble that says when to ask again: 429.
	Limited
	// Gone is the registry's own 404 or 410.
	Gone
	// Refused is a refusal: the registry's own 401 or 403, its realm's 401 or 403, and
	// an image that it has only as Docker schema 1. Held content is then no longer
	// served.
	Refused
)

// VerdictOf returns what err, an error of this package or one that wraps it, means.
func VerdictOf(err error) Verdict {
	var e *Error
	switch {
	case errors.Is(err, ErrRateLimited):
		return Limited
	case errors.Is(err, ErrDenied), errors.Is(err, ErrInvalid):
		return Refused
	case errors.Is(err, ErrNotFound) && errors.As(err, &e) && e.from == realm:
		return Refused
	case errors.Is(err, ErrNotFound):
		return Gone
	}
	return Trouble
}

// NotFoundElsewhere reports whether a host to which the registry redirected answered 404
// or 410. It is trouble; but if nothing is held, an empty list may be the better answer.
func NotFoundElsewhere(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.from == away && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// odd reports whether there was an answer, but not one of a registry, its realm or its
// storage. One new try from the beginning may reach the right one (a new signature,
// another node behind a balancer), and other requests may succeed: the breaker does not
// count it. The same holds for a realm that cannot be reached, because the next
// challenge may name another.
func (e *Error) odd() bool {
	switch e.Condition {
	case ErrCorrupt:
		return e.Status != http.StatusRequestedRangeNotSatisfiable // a new try gives the same answer
	case ErrUnavailable:
		return e.from == away || e.from == realm && e.Status == 0 || e.Status > 0 && e.Status < 500 ||
			e.Status == http.StatusNotImplemented // of one endpoint
	}
	return false
}

// breaks reports whether the breaker counts the failure, because the next request would
// most likely meet it, too.
func (e *Error) breaks() bool {
	switch e.Condition {
	case ErrUnavailable:
		return !e.odd()
	case ErrTimeout, ErrRateLimited:
		return e.from != away
	}
	return false
}

// nextURL reports whether the next of several URLs is tried. It is after trouble, but
// never after any 401, 403 or 404: a name that one registry refuses or does not have must not be
// requested from another, where anyone may have registered it.
func (e *Error) nextURL() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone,
		http.StatusRequestedRangeNotSatisfiable:
		return false
	}
	v := VerdictOf(e)
	return (v == Trouble || v == Limited) && e.Condition != ErrNoDigest
}
