package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// failed maps an upstream's failure to the error for a client, when nothing is held. missing is
// the error for content that does not exist.
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

// refused reports whether the upstream answered with a refusal: then what is held must not be
// served as if the upstream had not been asked. All other errors are failures.
func refused(err error) bool {
	v := upstream.VerdictOf(err)
	return v == upstream.Gone || v == upstream.Refused
}

// unheld reports whether an error means that the store does not have something, rather than that
// it failed.
func unheld(err error) bool {
	return errors.Is(err, core.ErrNameUnknown) || errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrBlobUnknown)
}

// mayFetch returns nil if the caller may have the mirror ask the upstream for what is not held.
func mayFetch(ctx context.Context, noun string) error {
	if access := core.AccessFrom(ctx); !access.Fetch {
		return access.Unfetched(noun)
	}
	return nil
}
