package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/core/store"
)

// What mirrors hold and lose. The label is the name of a mirror that something is held
// of: configurations choose these, and clients do not.
//
//	registry_mirror_held_bytes{mirror}            content held, each blob counted once
//	registry_mirror_evicted_manifests_total       evicted by age, size or for the disk
//	registry_mirror_evicted_bytes_total           content that went with them
var (
	evictedManifests = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registry_mirror_evicted_manifests_total",
		Help: "Manifests evicted from mirrors.",
	})
	evictedBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registry_mirror_evicted_bytes_total",
		Help: "Bytes of content evicted from mirrors.",
	})
	heldDesc = prometheus.NewDesc("registry_mirror_held_bytes",
		"Bytes that a mirror holds, each blob counted once.", []string{"mirror"}, nil)
)

// countEviction counts what an eviction removed.
func countEviction(gone store.Evicted) {
	evictedManifests.Add(float64(len(gone.Manifests)))
	evictedBytes.Add(float64(gone.Bytes))
}

// heldCollector reads what the mirrors of the open storages hold, as of the evictors'
// last look.
type heldCollector struct{}

func (heldCollector) Describe(ch chan<- *prometheus.Desc) { ch <- heldDesc }

func (heldCollector) Collect(ch chan<- prometheus.Metric) {
	held := map[string]int64{}
	pool.Range(func(_, value any) bool {
		for name, bytes := range value.(*shared).held() {
			held[name] += bytes
		}
		return true
	})
	for name, bytes := range held {
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(bytes), name)
	}
}

// held is what the mirrors of the storage hold, if it is open.
func (s *shared) held() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return nil
	}
	return s.trees.keeping.evictor.Held()
}
