package observe

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/hours"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/wire"
)

// Metrics of mirrors. The labels are bounded by the configuration.
//
//	registry_mirror_requests_total{mirror,operation,result}   requests of clients to a mirror
//	registry_mirror_upstream_total{mirror,operation,result}   its requests to the upstream:
//	    head, manifest, blob, attest, tags, referrers; result ok, not_found, denied,
//	    rate_limited, timeout, skipped (no request is sent for a while), error
//	registry_mirror_fetched_bytes_total{mirror}               bytes of blobs received
//	registry_mirror_pull_limit_remaining{mirror}              pulls left, as the upstream reports
var (
	mirrorRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_mirror_requests_total",
		Help: "Requests of clients to mirrors.",
	}, []string{"mirror", "operation", "result"})
	mirrorUpstream = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_mirror_upstream_total",
		Help: "Requests of mirrors to their upstreams.",
	}, []string{"mirror", "operation", "result"})
	mirrorFetched = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registry_mirror_fetched_bytes_total",
		Help: "Bytes of blobs that mirrors received.",
	}, []string{"mirror"})
	mirrorLimit = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "registry_mirror_pull_limit_remaining",
		Help: "What upstreams last said is left of their pull limits.",
	}, []string{"mirror"})
)

// CountMirror counts a client's request to a mirror by its result.
func CountMirror(name string, o wire.Outcome) {
	mirrorRequests.WithLabelValues(name, o.Kind.String(), result(o)).Inc()
}

// Upstream returns the client, and counts its requests for a mirror, also by the hour unless that is
// nil.
func Upstream(client *upstream.Client, name string, byHour *hours.Counter) mirror.Upstream {
	return counted{client, name, byHour}
}

// counted is an upstream whose requests are counted.
type counted struct {
	*upstream.Client
	mirror string
	hours  *hours.Counter
}

func (c counted) count(operation string, err error) {
	result := upstreamResult(err)
	mirrorUpstream.WithLabelValues(c.mirror, operation, result).Inc()
	switch result {
	case "skipped":
	case "ok", "not_found":
		c.hours.Asked(c.mirror, hours.OK)
	case "rate_limited":
		c.hours.Asked(c.mirror, hours.Limited)
	default:
		c.hours.Asked(c.mirror, hours.Failed)
	}
	if l := c.Limit(); !l.At.IsZero() {
		mirrorLimit.WithLabelValues(c.mirror).Set(float64(l.Remaining))
	}
}

// upstreamResult is an upstream's answer as a label.
func upstreamResult(err error) string {
	var details *upstream.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &details) && details.Skipped:
		return "skipped"
	case errors.Is(err, upstream.ErrNotFound):
		return "not_found"
	case errors.Is(err, upstream.ErrDenied):
		return "denied"
	case errors.Is(err, upstream.ErrRateLimited):
		return "rate_limited"
	case errors.Is(err, upstream.ErrTimeout):
		return "timeout"
	}
	return "error"
}

func (c counted) Head(ctx context.Context, repo string, ref core.Reference) (upstream.Answer, error) {
	a, err := c.Client.Head(ctx, repo, ref)
	c.count("head", err)
	return a, err
}

func (c counted) Manifest(ctx context.Context, repo string, ref core.Reference) (upstream.Answer, error) {
	a, err := c.Client.Manifest(ctx, repo, ref)
	c.count("manifest", err)
	return a, err
}

func (c counted) Blob(ctx context.Context, repo string, d digest.Digest, offset, expected int64) (io.ReadCloser, int64, error) {
	body, size, err := c.Client.Blob(ctx, repo, d, offset, expected)
	c.count("blob", err)
	if err == nil {
		body = c.counting(body)
	}
	return body, size, err
}

// Range counts the bytes of a part that is fetched ahead. Its request belongs to that of the blob.
func (c counted) Range(
	ctx context.Context, repo string, d digest.Digest, offset, length, size int64,
) (io.ReadCloser, error) {
	body, err := c.Client.Range(ctx, repo, d, offset, length, size)
	if err == nil {
		body = c.counting(body)
	}
	return body, err
}

func (c counted) counting(body io.ReadCloser) io.ReadCloser {
	return fetched{body, mirrorFetched.WithLabelValues(c.mirror), c}
}

func (c counted) Attest(ctx context.Context, repo string, d digest.Digest, want int64) (int64, error) {
	size, err := c.Client.Attest(ctx, repo, d, want)
	c.count("attest", err)
	return size, err
}

func (c counted) Tags(ctx context.Context, repo string) ([]string, error) {
	tags, err := c.Client.Tags(ctx, repo)
	c.count("tags", err)
	return tags, err
}

func (c counted) Referrers(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error) {
	referrers, err := c.Client.Referrers(ctx, repo, d)
	c.count("referrers", err)
	return referrers, err
}

// fetched counts the received bytes of a blob.
type fetched struct {
	io.ReadCloser
	bytes prometheus.Counter
	of    counted
}

func (f fetched) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.bytes.Add(float64(n))
	f.of.hours.Received(f.of.mirror, int64(n))
	return n, err
}

var _ mirror.Upstream = counted{}
