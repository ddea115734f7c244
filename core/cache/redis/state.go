package redis

// State is the outcome of the last questions to Redis.
type State string

// The states of Redis.
const (
	// StateUnknown: nothing was asked since the start.
	StateUnknown State = "unknown"
	// StateOK: it answers.
	StateOK State = "ok"
	// StatePartly: some nodes of a cluster do not answer.
	StatePartly State = "degraded"
	// StateAway: it does not answer.
	StateAway State = "away"
)

// States are all values of State.
var States = []State{StateUnknown, StateOK, StatePartly, StateAway}

// State returns the state of Redis as the last questions left it. It asks nothing.
func (c *Cache) State() State {
	down := 0
	for i := range c.breakers {
		b := &c.breakers[i]
		b.mu.Lock()
		if b.down {
			down++
		}
		b.mu.Unlock()
	}
	switch {
	case down == len(c.breakers), down > 0 && !c.answered.Load():
		return StateAway
	case down > 0:
		return StatePartly
	case !c.answered.Load():
		return StateUnknown
	}
	return StateOK
}
