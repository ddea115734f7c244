package observe

import (
	"github.com/prometheus/client_golang/prometheus"
)

// cacheRequests counts the requests to the shared cache, by operation (get, put, delete) and
// result. See redis.Config.
var cacheRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "registry_cache_requests_total",
	Help: "Requests to the manifest cache that processes share.",
}, []string{"operation", "result"})

// CountCache counts a request to the shared cache: see redis.Config.Count.
func CountCache(operation, result string) {
	cacheRequests.WithLabelValues(operation, result).Inc()
}
