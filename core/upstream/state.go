package upstream

import "time"

// State is the outcome of the last requests to an upstream.
type State string

// The states of an upstream.
const (
	// StateUnknown: no request has ended since the start.
	StateUnknown State = "unknown"
	// StateOK: the last request got an answer of any kind.
	StateOK State = "ok"
	// StateLimited: it answers 429, and is not asked until the time that it named.
	StateLimited State = "limited"
	// StateAway: it cannot be reached at any of its URLs. The next request after the pause of
	// Config.Breaker finds out whether it is back.
	StateAway State = "away"
)

// States are all values of State.
var States = []State{StateUnknown, StateOK, StateLimited, StateAway}

// State returns the state of the upstream as the last requests left it, and for StateLimited and
// StateAway the failure, with Since and Until. It makes no request.
func (c *Client) State() (State, *Error) {
	way := newPass("", c.anonymous, true)
	state, last := StateAway, (*Error)(nil)
	for _, ep := range c.endpoints {
		if failed := ep.breaker.failed(way.upstream); failed != nil {
			last = failed
			continue
		}
		limited := ep.breaker.failed(way.rate)
		if limited == nil {
			limited = ep.breaker.failed(way.pull)
		}
		if limited == nil || !time.Now().Before(limited.Until) {
			if !c.asked.Load() {
				return StateUnknown, nil
			}
			return StateOK, nil
		}
		state, last = StateLimited, limited
	}
	return state, last
}

// failed returns the failure that keeps a gate closed, until when, or nil.
func (b *breaker) failed(key string) *Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[key]
	if g == nil {
		return nil
	}
	failure := g.failure
	failure.Since, failure.Until = g.since, g.until
	return &failure
}
