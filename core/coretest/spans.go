package coretest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/eblume/caddy-registry/core"
)

// Spans keeps the spans of a traced request, for tests. It is safe for concurrent use.
type Spans struct {
	mu    sync.Mutex // guards ended
	ended []string
}

// Context returns a context whose work is recorded.
func (s *Spans) Context(ctx context.Context) context.Context {
	return core.WithSpan(ctx, core.NewSpan(&span{all: s, name: "request"}))
}

// Ended returns the spans that have ended, in this order, each as the names of the spans above it
// and its own, its attributes and links, and the kind of its error:
//
//	request > commit > call key=value (links call) failed 404
func (s *Spans) Ended() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

// span is one that all is told of when it has ended. all.mu guards said.
type span struct {
	all        *Spans
	above      *span
	name, said string
}

func (s *span) Begin(name string, _ bool) core.Recorder {
	return &span{all: s.all, above: s, name: s.name + " > " + name}
}

func (s *span) say(format string, args ...any) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.said += fmt.Sprintf(format, args...)
}

func (s *span) SetString(key, value string)    { s.say(" %s=%s", key, value) }
func (s *span) SetInt(key string, value int64) { s.say(" %s=%d", key, value) }

func (s *span) Link(other core.Recorder) {
	if o := other.(*span); o.above != s {
		s.say(" (links %s)", o.name)
	}
}

func (s *span) End(failure string) {
	if failure != "" {
		s.say(" failed %s", failure)
	}
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.ended = append(s.all.ended, s.name+s.said)
}
