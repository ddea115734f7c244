package core

import (
	"context"
	"errors"
	"net"
)

// Recorder records one span of a trace. Package observe has the one that records for OpenTelemetry;
// core does not know it. Its methods are safe for concurrent use.
type Recorder interface {
	// Begin begins a span below this one. call: it is a request to another server.
	Begin(name string, call bool) Recorder
	// SetString and SetInt add an attribute. Values are bounded, and are never secret.
	SetString(key, value string)
	SetInt(key string, value int64)
	// Link records that this span waited for other, which another request may have begun.
	Link(other Recorder)
	// End ends the span. failure is the kind of an error, one of few, or empty.
	End(failure string)
}

// Span is a piece of work that is recorded when the request that caused it is traced. The zero
// value records nothing, and costs nothing: neither do its methods allocate.
type Span struct{ recorder Recorder }

// NewSpan returns the span that r records.
func NewSpan(r Recorder) Span { return Span{r} }

type spanKey struct{}

// WithSpan returns a context whose work belongs to s. If s records nothing it is ctx.
func WithSpan(ctx context.Context, s Span) context.Context {
	if s.recorder == nil {
		return ctx
	}
	return context.WithValue(ctx, spanKey{}, s.recorder)
}

// SpanFrom returns the span that the work of ctx belongs to.
func SpanFrom(ctx context.Context) Span {
	r, _ := ctx.Value(spanKey{}).(Recorder)
	return Span{r}
}

// Begin begins a span below that of ctx, and returns a context for the work in it. The caller ends
// it. If the work of ctx is not traced, it returns ctx. name is one of few.
func Begin(ctx context.Context, name string) (context.Context, Span) {
	return begin(ctx, name, false)
}

// BeginCall is Begin for a request to another server.
func BeginCall(ctx context.Context, name string) (context.Context, Span) {
	return begin(ctx, name, true)
}

func begin(ctx context.Context, name string, call bool) (context.Context, Span) {
	parent := SpanFrom(ctx)
	if parent.recorder == nil {
		return ctx, Span{}
	}
	s := Span{parent.recorder.Begin(name, call)}
	return WithSpan(ctx, s), s
}

// Records reports whether s is recorded: what only it needs is not computed otherwise.
func (s Span) Records() bool { return s.recorder != nil }

// SetString adds an attribute.
func (s Span) SetString(key, value string) {
	if s.recorder != nil {
		s.recorder.SetString(key, value)
	}
}

// SetInt adds an attribute.
func (s Span) SetInt(key string, value int64) {
	if s.recorder != nil {
		s.recorder.SetInt(key, value)
	}
}

// Link records that the work of s waited for that of other. A span that s began is not linked:
// it is below s.
func (s Span) Link(other Span) {
	if s.recorder != nil && other.recorder != nil {
		s.recorder.Link(other.recorder)
	}
}

// End ends s. Of err only the kind is recorded: its text may name what a reader of traces may not
// know, and is in the log.
func (s Span) End(err error) {
	if s.recorder != nil {
		s.recorder.End(failureOf(err))
	}
}

// Fail ends s with an error of a kind, such as the status of an answer.
func (s Span) Fail(kind string) {
	if s.recorder != nil {
		s.recorder.End(kind)
	}
}

// failureOf returns the value of error.type for err (OpenTelemetry's semantic conventions): a code
// of the distribution specification, or one of three words.
func failureOf(err error) string {
	var coded *Error
	var network net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &coded):
		return coded.Code
	}
	return "_OTHER"
}
