package observe

import (
	"maps"
	"sync/atomic"

	"github.com/eblume/caddy-registry/core/wire"
)

// cells finds the metrics of a vector by action and one more label. The vector itself hashes
// both labels for each request, which takes longer than counting.
type cells[M any] struct {
	make func(labels ...string) M
	of   [wire.Catalog + 1]atomic.Pointer[map[string]M] // by Kind, then label; never changed
}

// get returns the metric, and makes it if it is the first request of its kind. The label is
// one of a few.
func (c *cells[M]) get(kind wire.Kind, label string) M {
	if kind < 0 || int(kind) >= len(c.of) {
		return c.make(kind.String(), label)
	}
	at := &c.of[kind]
	for {
		known := at.Load()
		if known != nil {
			if found, ok := (*known)[label]; ok {
				return found
			}
		}
		more := map[string]M{}
		if known != nil {
			more = maps.Clone(*known)
		}
		more[label] = c.make(kind.String(), label)
		at.CompareAndSwap(known, &more) // if another caller was faster, the loop finds its metric
	}
}
