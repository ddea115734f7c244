// Package kill kills the built binary with -9 at random moments, under pushes,
// deletes and collections, and checks that everything that it had acknowledged is there.
package kill

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/eblume/caddy-registry/integration/client"
)

// ledger is the clients' knowledge. Each tag has one writer, so at any moment its digest is
// known, or one operation on it has no answer yet.
type ledger struct {
	mu   sync.Mutex // guards tags
	tags map[string]*tag
}

// tag is one name and its possible states.
type tag struct {
	repo, name string
	// acknowledged is the state after the last answered operation; nil means that the tag does
	// not exist.
	acknowledged *client.Image
	// pending means that an operation was begun and not answered; after is then the state that
	// it leaves. Either outcome is legal, any third one is not.
	pending bool
	after   *client.Image
}

func newLedger() *ledger { return &ledger{tags: map[string]*tag{}} }

// pick is one of the writer's own tags.
func (l *ledger) pick(random *rand.Rand, writer, tags int) *tag {
	repo := fmt.Sprintf("kill/w%d", writer)
	name := fmt.Sprintf("t%d", random.IntN(tags))
	l.mu.Lock()
	defer l.mu.Unlock()
	key := repo + ":" + name
	if l.tags[key] == nil {
		l.tags[key] = &tag{repo: repo, name: name}
	}
	return l.tags[key]
}

// all are the tags that were ever touched.
func (l *ledger) all() []*tag {
	l.mu.Lock()
	defer l.mu.Unlock()
	tags := make([]*tag, 0, len(l.tags))
	for _, t := range l.tags {
		tags = append(tags, t)
	}
	return tags
}

// begin notes an operation that will leave after.
func (t *tag) begin(after *client.Image) { t.pending, t.after = true, after }

// done notes that the operation was answered.
func (t *tag) done() { t.pending, t.acknowledged, t.after = false, t.after, nil }

// settle records the state that was found after a restart.
func (t *tag) settle(found *client.Image) { t.pending, t.acknowledged, t.after = false, found, nil }
