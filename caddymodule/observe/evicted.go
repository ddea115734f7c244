package observe

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/core/store"
)

// Metrics of the content that mirrors hold and lose. The label is the name of a mirror with
// stored content: configurations choose these names, clients do not.
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
)

// CountEviction counts what an eviction removed.
func CountEviction(gone store.Evicted) {
	evictedManifests.Add(float64(len(gone.Manifests)))
	evictedBytes.Add(float64(gone.Bytes))
}
