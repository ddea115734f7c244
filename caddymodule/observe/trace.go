package observe

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/eblume/caddy-registry/core"
)

// tracer is the name of the instrumentation scope of the registry's spans.
const tracer = "github.com/eblume/caddy-registry"

// Traced returns r with a context in which the registry's work is recorded below the span of
// Caddy's handler `tracing`, or r if there is none that is recorded. The spans go to the provider
// of that span: Caddy's is its own, and not OpenTelemetry's global one.
//
// Nothing of a trace is sent to an upstream, because no propagator is used: spans are only recorded.
func Traced(r *http.Request) *http.Request {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return r
	}
	root := &recorder{span: span, tracer: span.TracerProvider().Tracer(tracer)}
	return r.WithContext(core.WithSpan(r.Context(), core.NewSpan(root)))
}

// recorder implements core.Recorder with a span of OpenTelemetry.
type recorder struct {
	span   trace.Span
	parent trace.SpanContext
	tracer trace.Tracer
}

var _ core.Recorder = (*recorder)(nil)

func (r *recorder) Begin(name string, call bool) core.Recorder {
	kind := trace.SpanKindInternal
	if call {
		kind = trace.SpanKindClient
	}
	// The parent is all that a new span needs of a context: one that a download keeps does not
	// keep the request.
	_, span := r.tracer.Start(trace.ContextWithSpan(context.Background(), r.span), name, trace.WithSpanKind(kind))
	return &recorder{span: span, parent: r.span.SpanContext(), tracer: r.tracer}
}

func (r *recorder) SetString(key, value string) { r.span.SetAttributes(attribute.String(key, value)) }

func (r *recorder) SetInt(key string, value int64) { r.span.SetAttributes(attribute.Int64(key, value)) }

func (r *recorder) Link(other core.Recorder) {
	o, ok := other.(*recorder)
	if !ok || o.parent.Equal(r.span.SpanContext()) {
		return
	}
	r.span.AddLink(trace.Link{SpanContext: o.span.SpanContext()})
}

func (r *recorder) End(failure string) {
	if failure != "" {
		r.span.SetAttributes(attribute.String("error.type", failure))
		r.span.SetStatus(codes.Error, "")
	}
	r.span.End()
}
