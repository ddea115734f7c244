package upstream

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// maxGates bounds what a breaker remembers: repositories come from clients.
const maxGates = 1024

// breaker refuses requests to an upstream that failed a moment ago, so that the
// second caller does not wait for the same failure. It is a set of gates, each
// with the scope of the failure: the whole upstream, one repository of it, one
// credential, or one credential's manifest GETs.
type breaker struct {
	wait time.Duration

	mu    sync.Mutex // guards gates
	gates map[string]*gate
}

type gate struct {
	until   time.Time
	since   time.Time // the first of the failures that kept it closed without a success
	failure Error
	// probing: the time is over and one request is trying; the others are still
	// refused.
	probing bool
}

// pass is a request's way through the gates.
type pass struct {
	upstream, repo, rate, pull string
	probed                     []string
}

// newPass returns the gates of a request. pull says that it counts as a pull.
func newPass(repo string, anonymous, pull bool) *pass {
	who := "login"
	if anonymous {
		who = "anonymous"
	}
	p := &pass{upstream: "upstream", repo: "repo " + repo, rate: "rate " + who}
	if pull {
		p.pull = "pull " + who
	}
	return p
}

func (p *pass) keys() []string { return []string{p.upstream, p.repo, p.rate, p.pull} }

// enter returns the failure for which the request is not made, or nil. After nil,
// leave must be called.
func (b *breaker) enter(p *pass) *Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, key := range p.keys() {
		if g := b.gates[key]; g != nil && (g.probing || now.Before(g.until)) {
			err := g.failure
			err.Skipped, err.Until = true, g.until
			return &err
		}
	}
	for _, key := range p.keys() {
		if g := b.gates[key]; g != nil {
			g.probing = true
			p.probed = append(p.probed, key)
		}
	}
	return nil
}

// leave notes the outcome of the request. gone says that the caller gave up;
// unless the upstream had failed by then, the outcome is unknown.
func (b *breaker) leave(p *pass, err error, gone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var failed *Error
	failing := errors.As(err, &failed) && failed.breaks()
	for _, key := range p.probed {
		if g := b.gates[key]; g != nil && (gone || failing) {
			g.probing = false
		} else {
			delete(b.gates, key)
		}
	}
	if !failing {
		return
	}
	now := time.Now()
	g := &gate{until: now.Add(b.wait), since: now, failure: *failed}
	if failed.Until.After(now) {
		g.until = failed.Until
	}
	key := p.gateOf(failed)
	if before := b.gates[key]; before != nil {
		g.since = before.since
	}
	b.set(key, g)
}

// gateOf returns the gate that a failure closes.
func (p *pass) gateOf(e *Error) string {
	switch {
	case errors.Is(e, ErrRateLimited) && e.PullLimit && p.pull != "":
		return p.pull
	case errors.Is(e, ErrRateLimited):
		return p.rate
	// These come from a proxy in front of a server that is down; any other 5xx
	// may concern only this repository, and must not close the upstream for
	// others.
	case e.Status == 0, e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		return p.upstream
	}
	return p.repo
}

func (b *breaker) set(key string, g *gate) {
	if b.gates == nil {
		b.gates = make(map[string]*gate)
	}
	if len(b.gates) >= maxGates && b.gates[key] == nil {
		// Forgetting a gate costs one request, so any gate without a probe will
		// do.
		for k, old := range b.gates {
			if !old.probing && k != "upstream" {
				delete(b.gates, k)
				break
			}
		}
	}
	b.gates[key] = g
}
