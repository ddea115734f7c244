package mirror

import (
	"context"
	"time"
)

// flightTimeout bounds a whole request to the upstream. The upstream's own timeouts are shorter;
// this one bounds a body that arrives byte by byte.
const flightTimeout = 2 * time.Minute

// together runs work once for all concurrent callers with the same key. The work outlives the
// first caller: it ends with its own timeout, or with the mirror.
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
