package coretest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/anishathalye/porcupine"
	"github.com/opencontainers/go-digest"
)

// TagCall is one call that is about a tag, by somebody who may create and do nothing
// more.
type TagCall struct {
	Op     string        `json:"op"` // put, delete or get
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest,omitempty"` // of what is put
}

// TagAnswer is what the caller was told.
type TagAnswer struct {
	OK bool `json:"ok"` // of put and delete
	// Digest is what the tag names, where the answer says it: of a get, and of a put
	// that was refused. Empty: get found no tag; a refusal did not say.
	Digest digest.Digest `json:"digest,omitempty"`
}

// createdOnce is a tag among such callers: the first put decides what it names. From
// then on it names that, whatever anybody does.
var createdOnce = porcupine.Model{
	Init: func() any { return digest.Digest("") },
	Step: func(state, input, output any) (bool, any) {
		held, call, answer := state.(digest.Digest), input.(TagCall), output.(TagAnswer)
		switch call.Op {
		case "put":
			if held == "" || held == call.Digest {
				return answer.OK, call.Digest
			}
			return !answer.OK && (answer.Digest == "" || answer.Digest == held), held
		case "delete":
			return !answer.OK, held
		default:
			return answer.Digest == held, held
		}
	},
}

// Creators are calls of many create-only callers at once. It is safe for concurrent use.
type Creators struct {
	mu    sync.Mutex // guards calls
	calls map[string][]porcupine.Operation
}

// Add takes a call of a client, with the times before and after it, which are of one
// clock for all clients.
func (c *Creators) Add(client int, call TagCall, answer TagAnswer, before, after int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string][]porcupine.Operation{}
	}
	c.calls[call.Tag] = append(c.calls[call.Tag], porcupine.Operation{
		ClientId: client, Input: call, Output: answer, Call: before, Return: after,
	})
}

// Count is how many calls were added.
func (c *Creators) Count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, calls := range c.calls {
		n += len(calls)
	}
	return n
}

// Check looks for an order of the calls in which each tag named one thing from its
// creation on, and all that the callers were told is true. Its error is the calls on
// a tag that has none.
func (c *Creators) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tag, calls := range c.calls {
		if porcupine.CheckOperations(createdOnce, telling(calls)) {
			continue
		}
		var text strings.Builder
		for _, call := range calls {
			fmt.Fprintf(&text, "\n%3d %12d-%12d %+v -> %+v", call.ClientId, call.Call, call.Return, call.Input, call.Output)
		}
		return fmt.Errorf("no order of these calls keeps %s what it was created as:%s", tag, text.String())
	}
	return nil
}

// telling leaves out the calls that others imply, or the search would take for ever:
// among dozens that were refused at once, every order would be tried.
//
// A call that saw the tag name something says that the tag was created before the call
// returned; of those that saw the same, the first to return says most. A put that was
// accepted says so too, and that it may be what created the tag: the first to begin is
// as good for that as any. A call that saw no tag says that it was not created before
// the call began; the last to begin says most. A delete that was refused says nothing.
func telling(calls []porcupine.Operation) []porcupine.Operation {
	type saw struct {
		op  string
		put digest.Digest // where the answer does not say what the tag names, or says this
		tag digest.Digest
	}
	most := map[saw]porcupine.Operation{}
	keep := func(key saw, call porcupine.Operation, more func(a, b porcupine.Operation) bool) {
		if other, ok := most[key]; !ok || more(call, other) {
			most[key] = call
		}
	}
	firstReturn := func(a, b porcupine.Operation) bool { return a.Return < b.Return }
	firstCall := func(a, b porcupine.Operation) bool { return a.Call < b.Call }
	lastCall := func(a, b porcupine.Operation) bool { return a.Call > b.Call }
	for _, call := range calls {
		input, answer := call.Input.(TagCall), call.Output.(TagAnswer)
		switch {
		case input.Op == "put" && answer.OK:
			keep(saw{op: "first accepted", put: input.Digest}, call, firstReturn)
			keep(saw{op: "first begun", put: input.Digest}, call, firstCall)
		case input.Op == "put" && (answer.Digest == "" || answer.Digest == input.Digest):
			keep(saw{op: "refused", put: input.Digest, tag: answer.Digest}, call, firstReturn)
		case input.Op == "put":
			keep(saw{op: "refused", tag: answer.Digest}, call, firstReturn)
		case input.Op == "get" && answer.Digest == "":
			keep(saw{op: "absent"}, call, lastCall)
		case input.Op == "get":
			keep(saw{op: "get", tag: answer.Digest}, call, firstReturn)
		case answer.OK:
			keep(saw{op: "deleted"}, call, firstReturn)
		}
	}
	return slices.Collect(maps.Values(most))
}
