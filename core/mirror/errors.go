package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// failed says what an upstream's failure means to a client, when nothing is held.
// missing is the condition for what is not there.
func failed(err error, missing *core.Error) error {
	var known *core.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	condition := core.ErrUpstream
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		condition = missing
	case errors.Is(err, upstream.ErrDenied):
		condition = core.ErrDenied
	case errors.Is(err, upstream.ErrRateLimited):
		condition = core.ErrTooManyRequests
	case errors.Is(err, upstream.ErrTimeout):
		condition = core.ErrUpstreamTimeout
	case errors.Is(err, upstream.ErrInvalid):
		// Schema 1, with a sentence that the client shows.
		condition = core.ErrManifestInvalid
	}
	wrapped := fmt.Errorf("%w: %w", condition, err)
	var details *upstream.Error
	if !errors.As(err, &details) {
		return wrapped
	}
	return core.WithRetry(core.WithPublic(wrapped, fmt.Sprintf("%s: %s", condition, details.Public())), details.Until)
}

// refused tells whether the upstream answered, and the answer was no: then what is
// held must not be served as if nobody had asked. All the rest is trouble.
func refused(err error) bool {
	v := upstream.VerdictOf(err)
	return v == upstream.Gone || v == upstream.Refused
}

// unheld tells whether the store does not have something, rather than failing.
func unheld(err error) bool {
	return errors.Is(err, core.ErrNameUnknown) || errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrBlobUnknown)
}

// mayFetch is nil if the caller may let the mirror ask for what is not held.
func mayFetch(ctx context.Context, noun string) error {
	if access := core.AccessFrom(ctx); !access.Fetch {
		return access.Unfetched(noun)
	}
	return nil
}
