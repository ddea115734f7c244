package caddymodule

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

const (
	// announceEvery is how often a key that ends soon is announced.
	announceEvery = 24 * time.Hour
	// announceLook is how often keys are looked at for that.
	announceLook = time.Hour
)

// announcements is when each key was announced last, by its ID.
type announcements map[string]time.Time

// due returns the keys that are to be announced now, and takes note of them.
func (a announcements) due(keys []identity.Key, now time.Time) []identity.Key {
	var due []identity.Key
	for _, key := range keys {
		if !key.Expiring(now) {
			delete(a, key.ID)
			continue
		}
		if last, ok := a[key.ID]; ok && now.Sub(last) < announceEvery {
			continue
		}
		a[key.ID] = now
		due = append(due, key)
	}
	return due
}

// keysToAnnounce are due for whoever shares the storage.
func (s *shared) keysToAnnounce(now time.Time) []identity.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers == nil {
		return nil
	}
	if s.announced == nil {
		s.announced = announcements{}
	}
	return s.announced.due(s.callers.store.Keys().List(""), now)
}

// announceKeys tells, once a day, of each key that ends soon, until ctx ends.
func (a *App) announceKeys(ctx context.Context) {
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	for {
		for _, key := range a.shared.keysToAnnounce(time.Now()) {
			a.audit.key(auditKeyExpiring, key, key.By)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// keyCounts is what the metrics say about keys. Revoked ones do not count.
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

// keysCollector looks at the keys of the storages that are open now.
type keysCollector struct{}

var (
	keysDesc = prometheus.NewDesc("registry_api_keys", "API keys that were not revoked.", []string{"state"}, nil)
	nextDesc = prometheus.NewDesc("registry_api_key_next_expiry_timestamp_seconds", "When the next API key ends.", nil, nil)
)

func (keysCollector) Describe(ch chan<- *prometheus.Desc) { ch <- keysDesc; ch <- nextDesc }

func (keysCollector) Collect(ch chan<- prometheus.Metric) {
	var counts keyCounts
	pool.Range(func(_, value any) bool {
		s := value.(*shared)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.callers != nil {
			counts.add(s.callers.store.Keys().List(""), time.Now())
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
