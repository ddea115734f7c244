package observe

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/wire"
)

// The counters, in the registry of Caddy's own metrics. docs/look-up/metrics.md describes each, and a
// test in integration/metrics compares the two. Labels are bounded, and hold no tag and no user; only
// registry_storage_repository_bytes holds repositories.
//
// The counters belong to the process: Caddy makes a new registry with each load, and
// they are registered there again.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_requests_total",
		Help: "Requests by endpoint and outcome.",
	}, []string{"action", "result"})
	requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "registry_request_duration_seconds",
		Help:    "Time from the header of a request to the end of its answer.",
		Buckets: durations,
	}, []string{"action", "source"})
	firstByteSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "registry_request_first_byte_seconds",
		Help:    "Time from the header of a GET of a manifest or a blob to the first byte of what was asked for.",
		Buckets: durations,
	}, []string{"action", "source"})
	pulledBytes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_pulled_bytes_total",
		Help: "Bytes sent in answers, by where their content came from.",
	}, []string{"source"})
	pushedBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registry_pushed_bytes_total",
		Help: "Bytes received in uploads and manifests.",
	})
	loginsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_logins_total",
		Help: "Credentials that were presented at the token endpoint.",
	}, []string{"method", "result"})
	gcRuns = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_gc_runs_total",
		Help: "Collections by outcome.",
	}, []string{"result"})
	gcRemoved = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_gc_removed_total",
		Help: "What collections removed.",
	}, []string{"kind"})
	gcRemovedBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registry_gc_removed_bytes_total",
		Help: "Bytes of content that collections removed.",
	})
)

// Register adds the counters, and others, to the metrics registry of one load.
func Register(registry *prometheus.Registry, others ...prometheus.Collector) error {
	for _, c := range append([]prometheus.Collector{
		requestsTotal, requestSeconds, firstByteSeconds, cacheRequests, pulledBytes, pushedBytes, gcRuns, gcRemoved, gcRemovedBytes,
		loginsTotal,
		mirrorRequests, mirrorUpstream, mirrorFetched, mirrorLimit,
		evictedManifests, evictedBytes, lastSuccess,
	}, others...) {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// The metrics of requests, for fast lookup.
var (
	requestCells   = cells[prometheus.Counter]{make: requestsTotal.WithLabelValues}
	secondsCells   = cells[prometheus.Observer]{make: requestSeconds.WithLabelValues}
	firstByteCells = cells[prometheus.Observer]{make: firstByteSeconds.WithLabelValues}
	pulledCells    = func() map[core.Source]prometheus.Counter {
		of := map[core.Source]prometheus.Counter{}
		for _, source := range []core.Source{
			core.SourcePrivate, core.SourceHeld, core.SourceShared, core.SourceUpstream, core.SourceStale, SourceNone,
		} {
			of[source] = pulledBytes.WithLabelValues(string(source))
		}
		return of
	}()
)

// durations are the buckets of times: from a manifest in memory to a large layer for a slow
// client.
var durations = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

// SourceNone is the source of answers without content of a repository: errors, and requests
// without a repository.
const SourceNone = core.Source("none")

// SourceOf returns where the content of an answer came from.
func SourceOf(o wire.Outcome, repo, mirror string) core.Source {
	switch {
	case o.Status >= http.StatusBadRequest || repo == "":
		return SourceNone
	case mirror == "":
		return core.SourcePrivate
	case o.Source == "":
		return core.SourceHeld
	}
	return o.Source
}

// CountRequest counts a request by its result, and records its duration.
func CountRequest(o wire.Outcome, source core.Source, method string, begun time.Time) {
	requestCells.get(o.Kind, result(o)).Inc()
	pulled, ok := pulledCells[source]
	if !ok {
		pulled = pulledBytes.WithLabelValues(string(source))
	}
	pulled.Add(float64(o.Sent))
	secondsCells.get(o.Kind, string(source)).Observe(time.Since(begun).Seconds())
	content := o.Kind == wire.Manifest || o.Kind == wire.Blob
	if content && method == http.MethodGet && source != SourceNone && !o.First.IsZero() {
		firstByteCells.get(o.Kind, string(source)).Observe(o.First.Sub(begun).Seconds())
	}
}

// CountLogin counts the verification of a credential by its result.
func CountLogin(method string, err error) {
	result := "error"
	switch {
	case err == nil:
		result = "ok"
	case errors.Is(err, core.ErrUnauthorized):
		result = "refused"
	case errors.Is(err, core.ErrTooManyRequests):
		result = "limited"
	}
	loginsTotal.WithLabelValues(method, result).Inc()
}

// result returns the outcome as a label.
func result(o wire.Outcome) string {
	switch {
	case o.Status < http.StatusBadRequest && o.Err != nil:
		return "broken" // after a good status
	case o.Status < http.StatusBadRequest:
		return "ok"
	case o.Status == http.StatusUnauthorized, o.Status == http.StatusForbidden:
		return "denied"
	case o.Status == http.StatusNotFound:
		return "not_found"
	case o.Status == wire.StatusGone:
		return "gone"
	case o.Status < http.StatusInternalServerError:
		return "invalid"
	default:
		return "error"
	}
}

// CountCollection counts a run of the collector.
func CountCollection(c control.Collected, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	gcRuns.WithLabelValues(result).Inc()
	for _, tree := range []store.Collected{c.Private, c.Mirrors} {
		gcRemoved.WithLabelValues("manifest").Add(float64(tree.Manifests))
		gcRemoved.WithLabelValues("link").Add(float64(tree.Links))
		gcRemoved.WithLabelValues("blob").Add(float64(tree.Blobs))
		gcRemoved.WithLabelValues("upload").Add(float64(tree.Uploads))
		gcRemovedBytes.Add(float64(tree.Bytes))
	}
}

// Body counts the bytes that are read from a request's body as pushed.
func Body(body io.ReadCloser) io.ReadCloser { return countedBody{body} }

// countedBody counts the bytes of a push as they arrive.
type countedBody struct{ io.ReadCloser }

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	pushedBytes.Add(float64(n))
	return n, err
}
