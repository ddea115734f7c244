package upstream

import "time"

// Learned is what a Client knows about one of its URLs from earlier answers.
type Learned struct {
	URL string `json:"url"`
	// Auth is the authentication method of the upstream, as in Found; empty: unknown.
	Auth string `json:"auth,omitempty"`
	// Realm is where its tokens come from.
	Realm string `json:"realm,omitempty"`
	// Accepted reports whether the upstream has ever accepted the credentials.
	Accepted bool `json:"accepted,omitempty"`
	// Failure is why the upstream is not asked until Until; empty: it is asked.
	Failure string    `json:"failure,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// Learned returns what c knows, in the order of its URLs. It makes no request.
func (c *Client) Learned() []Learned {
	var all []Learned
	for _, ep := range c.endpoints {
		l := Learned{URL: ep.base.String(), Accepted: c.accepted.Load()}
		if m, ok := ep.known(); ok {
			l.Auth, l.Realm = m.auth(), m.realm
		}
		if failure, until := ep.breaker.resting(time.Now()); failure != nil {
			l.Failure, l.Until = failure.Error(), until
		}
		all = append(all, l)
	}
	return all
}

// auth returns the kind of a method, for people.
func (m method) auth() string {
	if m.realm == "" {
		return "basic"
	}
	return "token"
}

// resting returns why the whole upstream is not asked at now, and until when.
func (b *breaker) resting(now time.Time) (*Error, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates["upstream"]
	if g == nil || !now.Before(g.until) {
		return nil, time.Time{}
	}
	failure := g.failure
	return &failure, g.until
}
