package core_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// line is a core.Recorder that writes what it is told, one word after the other.
type line struct {
	name string
	to   *[]string
}

func (l line) say(format string, args ...any) {
	*l.to = append(*l.to, l.name+" "+fmt.Sprintf(format, args...))
}

func (l line) Begin(name string, call bool) core.Recorder {
	l.say("begins %s %t", name, call)
	return line{name, l.to}
}
func (l line) SetString(key, value string)    { l.say("%s=%s", key, value) }
func (l line) SetInt(key string, value int64) { l.say("%s=%d", key, value) }
func (l line) Link(other core.Recorder)       { l.say("links %s", other.(line).name) }
func (l line) End(failure string)             { l.say("ends %q", failure) }

func TestSpansAreBelowThatOfTheContext(t *testing.T) {
	var said []string
	ctx := core.WithSpan(t.Context(), core.NewSpan(line{"request", &said}))
	inner, commit := core.Begin(ctx, "commit")
	_, call := core.BeginCall(inner, "call")
	call.SetString("method", "GET")
	call.SetInt("status", 404)
	call.Fail("404")
	commit.Link(call)
	commit.Link(core.Span{})
	commit.End(nil)
	want := `request begins commit false
commit begins call true
call method=GET
call status=404
call ends "404"
commit links call
commit ends ""`
	if got := strings.Join(said, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOnlyTheKindOfAnErrorIsRecorded(t *testing.T) {
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{context.Canceled, "canceled"},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), "timeout"},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), "timeout"},
		{fmt.Errorf("%w: team/secret", core.ErrManifestUnknown), "MANIFEST_UNKNOWN"},
		{errors.New("https://storage.example.com/?X-Amz-Signature=5f"), "_OTHER"},
	} {
		var said []string
		core.NewSpan(line{"span", &said}).End(row.err)
		if want := fmt.Sprintf("span ends %q", row.want); len(said) != 1 || said[0] != want {
			t.Errorf("%v: got %q, want %q", row.err, said, want)
		}
	}
}

func TestARequestThatIsNotTracedAllocatesNothing(t *testing.T) {
	ctx := core.WithAccess(t.Context(), core.Access{Fetch: true})
	got := testing.AllocsPerRun(100, func() {
		inner, span := core.BeginCall(ctx, "call")
		if inner != ctx || span.Records() {
			t.Error("a request that is not traced has a span")
		}
		span.SetString("key", "value")
		span.SetInt("key", 1000)
		span.Link(core.SpanFrom(inner))
		span.End(context.Canceled)
		if core.WithSpan(ctx, span) != ctx {
			t.Error("a span that is not recorded changes the context")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
