package core

import (
	"context"
	"time"
)

// maxWarnings bounds the warnings of one answer: a client shows each of them.
const maxWarnings = 8

// Source says where the content of an answer came from.
type Source string

// The sources of an answer.
const (
	// SourcePrivate is a repository that this registry keeps itself.
	SourcePrivate Source = "private"
	// SourceHeld is a mirror that had the content, also if its upstream was asked whether
	// it is still current.
	SourceHeld Source = "held"
	// SourceShared is the shared cache, into which another process has put the content.
	SourceShared Source = "shared"
	// SourceUpstream is an upstream that was asked for the content, by this request or by
	// one that it joined.
	SourceUpstream Source = "upstream"
	// SourceStale is a mirror that had the content, and whose upstream could not be asked or
	// has deleted it.
	SourceStale Source = "stale"
)

// Notes are remarks of registries about an answer. Only the goroutine of the request adds
// to them.
type Notes struct {
	warnings []string
	source   Source
	asOf     time.Time
}

// Warnings returns the warnings about a good answer, in the order in which they were
// added: that a mirror serves content that its upstream no longer has, for example. wire
// sends each as a Warning field (spec.md, "Warnings").
func (n *Notes) Warnings() []string { return n.warnings }

// Source returns where the content came from, or nothing if no registry has said so.
func (n *Notes) Source() Source { return n.source }

// AsOf returns when the answer was true, or the zero time if no registry has said so: it is current.
func (n *Notes) AsOf() time.Time { return n.asOf }

// noted is a context with notes in it. As one value it takes one allocation, on the path of
// every request.
type noted struct {
	context.Context
	notes Notes
}

type notesKey struct{}

func (c *noted) Value(key any) any {
	if key == (notesKey{}) {
		return &c.notes
	}
	return c.Context.Value(key)
}

// WithNotes returns a context for one request, and the notes that will be made in it.
func WithNotes(ctx context.Context) (context.Context, *Notes) {
	c := &noted{Context: ctx}
	return c, &c.notes
}

// Warn adds text, in printable ASCII, to the answer of ctx's request, if it has notes. It
// must not contain anything that the caller may not know.
func Warn(ctx context.Context, text string) {
	if n, _ := ctx.Value(notesKey{}).(*Notes); n != nil && len(n.warnings) < maxWarnings {
		n.warnings = append(n.warnings, text)
	}
}

// From notes where the content of the answer to ctx's request comes from, if it has notes.
// The last call counts.
func From(ctx context.Context, source Source) {
	if n, _ := ctx.Value(notesKey{}).(*Notes); n != nil {
		n.source = source
	}
}

// AsOf notes when the answer to ctx's request was true, if it has notes. The last call counts.
func AsOf(ctx context.Context, t time.Time) {
	if n, _ := ctx.Value(notesKey{}).(*Notes); n != nil {
		n.asOf = t
	}
}
