package mirror

import (
	"context"
	"time"
)

// flightTimeout bounds a question to the upstream as a whole. The upstream's own
// timeouts are shorter; this one bounds a body that comes byte by byte.
const flightTimeout = 2 * time.Minute

// together answers one question once for all who ask it at the same time. The work
// outlives whoever asked first: it ends with its own timeout, or with the mirror.
func together[T any](ctx context.Context, m *Mirror, key string, work func(ctx context.Context) (T, error)) (T, error) {
	var none T
	result := m.flights.DoChan(key, func() (any, error) {
		m.background.Add(1)
		defer m.background.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		defer context.AfterFunc(m.life, cancel)()
		return work(ctx)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
