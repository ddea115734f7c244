package upstream

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// traced records each request as a span, until its content has been read, or until the answer to one
// that has none. Its attributes are those of OpenTelemetry's conventions for HTTP clients. It sends nothing of a trace: an
// upstream does not learn which requests of ours belong together.
//
// The URL is not recorded, because the query of a storage's is a signature, and only kind says what
// was asked.
type traced struct {
	http.RoundTripper
	mirror string
	kind   string // as a template of a path, or one word
}

// kind returns what a question asks for, without names and digests. elsewhere: the upstream has
// redirected it to a storage.
func (q question) kind(elsewhere bool) string {
	if elsewhere {
		return "storage"
	}
	first, _, _ := strings.Cut(q.path, "/")
	switch first {
	case "manifests":
		return "/v2/{name}/manifests/{reference}"
	case "blobs":
		return "/v2/{name}/blobs/{digest}"
	case "referrers":
		return "/v2/{name}/referrers/{digest}"
	}
	return "/v2/{name}/tags/list"
}

// RoundTrip implements http.RoundTripper.
func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if !core.SpanFrom(r.Context()).Records() {
		return t.RoundTripper.RoundTrip(r)
	}
	_, span := core.BeginCall(r.Context(), r.Method+" "+t.kind)
	span.SetString("registry.mirror", t.mirror)
	span.SetString("http.request.method", r.Method)
	if strings.HasPrefix(t.kind, "/") {
		span.SetString("url.template", t.kind)
	}
	span.SetString("url.scheme", r.URL.Scheme)
	span.SetString("server.address", printable(r.URL.Hostname()))
	if port, err := strconv.Atoi(cmp.Or(r.URL.Port(), map[string]string{"https": "443", "http": "80"}[r.URL.Scheme])); err == nil {
		span.SetInt("server.port", int64(port))
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		span.End(err)
		return resp, err
	}
	span.SetInt("http.response.status_code", int64(resp.StatusCode))
	switch {
	case resp.StatusCode >= 400:
		span.Fail(strconv.Itoa(resp.StatusCode))
	case resp.StatusCode >= 300 || r.Method == http.MethodHead:
		span.End(nil)
	default:
		resp.Body = &tracedBody{ReadCloser: resp.Body, span: span}
	}
	return resp, nil
}

// tracedBody ends a span when it is closed. It is read and closed by one goroutine at a time.
type tracedBody struct {
	io.ReadCloser
	span   core.Span
	read   int64
	err    error
	closed bool
}

func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func (b *tracedBody) Close() error {
	if !b.closed {
		b.closed = true
		b.span.SetInt("http.response.body.size", b.read)
		b.span.End(b.err)
	}
	return b.ReadCloser.Close()
}
