package mirror

import (
	"context"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// flightTimeout bounds a whole request to the upstream. The upstream's own timeouts are shorter;
// this one bounds a body that arrives byte by byte.
const flightTimeout = 2 * time.Minute

// landed is the result of a flight, and its span.
type landed[T any] struct {
	value T
	span  core.Span
}

// together runs work once for all concurrent callers with the same key. The work outlives the
// first caller: it ends with its own timeout, or with the mirror. It is one span with that name,
// below that of the first caller; those of the others link to it.
func together[T any](ctx context.Context, m *Mirror, span, key string, work func(ctx context.Context) (T, error)) (T, error) {
	var none T
	result := m.flights.DoChan(key, func() (any, error) {
		m.background.Add(1)
		defer m.background.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		defer context.AfterFunc(m.life, cancel)()
		ctx, of := core.Begin(ctx, span)
		value, err := work(ctx)
		of.End(err)
		return landed[T]{value, of}, err
	})
	select {
	case r := <-result:
		flight, _ := r.Val.(landed[T])
		core.SpanFrom(ctx).Link(flight.span)
		if r.Err != nil {
			return none, r.Err
		}
		return flight.value, nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
