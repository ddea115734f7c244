package observe

import "github.com/prometheus/client_golang/prometheus"

// lastSuccess is the time at which a background task last succeeded.
var lastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "registry_last_success_timestamp_seconds",
	Help: "When a task in the background last succeeded.",
}, []string{"task"}) // Prometheus has a label job of its own

// The tasks of lastSuccess.
const (
	TaskGC       = "gc"
	TaskEvict    = "evict"
	TaskCount    = "count"
	TaskAnnounce = "announce_keys"
)

// Succeeded records that a task has succeeded.
func Succeeded(task string) { lastSuccess.WithLabelValues(task).SetToCurrentTime() }
