// Package tracing checks the spans that the built binary exports: a receiver of OpenTelemetry's
// protocol on loopback takes them, as Jaeger or Tempo do.
package tracing

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxExport bounds one export, in bytes.
const maxExport = 16 << 20

// span is a received span.
type span struct {
	*trace.Span
	scope string // of the instrumentation
}

func (s span) id() string     { return hex.EncodeToString(s.SpanId) }
func (s span) parent() string { return hex.EncodeToString(s.ParentSpanId) }
func (s span) trace() string  { return hex.EncodeToString(s.TraceId) }

// value returns an attribute as text, or nothing.
func (s span) value(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// links returns the identifiers of the spans that s links to.
func (s span) links() (ids []string) {
	for _, l := range s.Links {
		ids = append(ids, hex.EncodeToString(l.SpanId))
	}
	return ids
}

// receiver keeps the spans that are sent to it (OTLP/HTTP, protobuf).
type receiver struct {
	url string

	mu    sync.Mutex // guards spans
	spans []span
}

func newReceiver(t *testing.T) *receiver {
	r := new(receiver)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	data, err := io.ReadAll(io.LimitReader(request.Body, maxExport))
	var export trace.TracesData // has the form of an ExportTraceServiceRequest, whose package needs gRPC
	if err == nil {
		err = proto.Unmarshal(data, &export)
	}
	if err != nil || request.URL.Path != "/v1/traces" {
		http.Error(w, "not an export of spans", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				r.spans = append(r.spans, span{s, scope.Scope.GetName()})
			}
		}
	}
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer is a success
}

// all returns the spans so far.
func (r *receiver) all() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}
