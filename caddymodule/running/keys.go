package running

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// keysToAnnounce returns the keys that are due, for all configurations that share the storage.
func (s *Storage) keysToAnnounce(ctx context.Context) ([]identity.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers == nil {
		return nil, nil
	}
	return s.callers.Identity.Keys().Announce(ctx)
}

// keyCounts has the values of the metrics about keys. Revoked ones do not count.
type keyCounts struct {
	valid, expiring, expired int
	next                     time.Time // the end of the active key that ends first; zero: there is none
}

func (c *keyCounts) add(keys []identity.Key, now time.Time) {
	for _, key := range keys {
		switch {
		case !key.Revoked.IsZero():
			continue
		case !key.Active(now):
			c.expired++
			continue
		case key.Expiring(now):
			c.expiring++
		default:
			c.valid++
		}
		if c.next.IsZero() || key.Expires.Before(c.next) {
			c.next = key.Expires
		}
	}
}

// keysCollector counts the keys of the open storages.
type keysCollector struct{}

var (
	keysDesc = prometheus.NewDesc("registry_api_keys", "API keys that were not revoked.", []string{"state"}, nil)
	nextDesc = prometheus.NewDesc("registry_api_key_next_expiry_timestamp_seconds", "When the next API key ends.", nil, nil)
)

func (keysCollector) Describe(ch chan<- *prometheus.Desc) { ch <- keysDesc; ch <- nextDesc }

func (keysCollector) Collect(ch chan<- prometheus.Metric) {
	var counts keyCounts
	pool.Range(func(_, value any) bool {
		s := value.(*Storage)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.callers != nil {
			counts.add(s.callers.Identity.Keys().List(""), time.Now())
		}
		return true
	})
	for state, n := range map[string]int{"valid": counts.valid, "expiring": counts.expiring, "expired": counts.expired} {
		ch <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(n), state)
	}
	if !counts.next.IsZero() {
		ch <- prometheus.MustNewConstMetric(nextDesc, prometheus.GaugeValue, float64(counts.next.Unix()))
	}
}
