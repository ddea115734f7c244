package core

import "context"

// maxWarnings bounds the warnings of one answer: a client shows each to somebody.
const maxWarnings = 8

// Warnings are what a client should know about a good answer: that a mirror serves what
// its upstream no longer has. wire sends each as a Warning field (spec.md, "Warnings").
// Only the goroutine of the request adds to it.
type Warnings struct{ texts []string }

// All returns the warnings in the order in which they were added.
func (w *Warnings) All() []string { return w.texts }

type warningsKey struct{}

// WithWarnings returns a context for one request, and what will be warned of in it.
func WithWarnings(ctx context.Context) (context.Context, *Warnings) {
	w := new(Warnings)
	return context.WithValue(ctx, warningsKey{}, w), w
}

// Warn adds text, in printable ASCII, to the answer of ctx's request, if anybody asked for
// warnings. It must not hold what the caller may not know.
func Warn(ctx context.Context, text string) {
	if w, _ := ctx.Value(warningsKey{}).(*Warnings); w != nil && len(w.texts) < maxWarnings {
		w.texts = append(w.texts, text)
	}
}
