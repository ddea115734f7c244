package observe_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
)

// handled returns a request as Caddy's handler passes it on, with the span of a provider.
func handled(t *testing.T, provider *sdk.TracerProvider) (*http.Request, trace.Span) {
	t.Helper()
	ctx, span := provider.Tracer("handler").Start(t.Context(), "handler")
	return httptest.NewRequestWithContext(ctx, http.MethodGet, "/v2/", nil), span
}

func TestARequestWithoutARecordedSpanIsNotTouched(t *testing.T) {
	dropped, _ := handled(t, sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())))
	for name, r := range map[string]*http.Request{
		"no handler":  httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil),
		"not sampled": dropped,
	} {
		got := testing.AllocsPerRun(100, func() {
			if observe.Traced(r) != r {
				t.Errorf("%s: the request has another context", name)
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func TestSpansGoToTheProviderOfTheHandler(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	r, first := handled(t, provider)
	ctx := observe.Traced(r).Context()
	r, second := handled(t, provider)
	waiter := core.SpanFrom(observe.Traced(r).Context())

	below, download := core.Begin(ctx, "download")
	core.SpanFrom(ctx).Link(download) // began it
	waiter.Link(download)
	_, call := core.BeginCall(context.WithoutCancel(below), "call")
	call.SetString("key", "value")
	call.SetInt("number", 7)
	call.End(core.ErrUpstream)
	download.End(nil)
	first.End()
	second.End()

	ended := spans.Ended() // in this order
	if len(ended) != 4 {
		t.Fatalf("%d spans, want 4", len(ended))
	}
	if got, want := ended[0].Parent().SpanID(), ended[1].SpanContext().SpanID(); got != want {
		t.Errorf("the call is below %s, want the download, %s", got, want)
	}
	if got, want := ended[1].Parent().SpanID(), first.SpanContext().SpanID(); got != want {
		t.Errorf("the download is below %s, want the first request, %s", got, want)
	}
	if ended[0].SpanKind() != trace.SpanKindClient || ended[1].SpanKind() != trace.SpanKindInternal {
		t.Errorf("kinds %s and %s, want client and internal", ended[0].SpanKind(), ended[1].SpanKind())
	}
	want := []attribute.KeyValue{
		attribute.String("key", "value"), attribute.Int("number", 7), attribute.String("error.type", "UNAVAILABLE"),
	}
	if got := ended[0].Attributes(); !slices.Equal(got, want) {
		t.Errorf("attributes %v, want %v", got, want)
	}
	if got := ended[0].Status(); got.Code != codes.Error || got.Description != "" {
		t.Errorf("status %v, want an error without a text", got)
	}
	if got := ended[2].Links(); len(got) != 0 {
		t.Errorf("the request that began the download has the links %v, want none", got)
	}
	if got := ended[3].Links(); len(got) != 1 || !got[0].SpanContext.Equal(ended[1].SpanContext()) {
		t.Errorf("the waiter has the links %v, want one to the download", got)
	}
}
