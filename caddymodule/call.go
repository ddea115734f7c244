package caddymodule

import (
	"cmp"
	"net/http"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// call is one request below /v2/ on its way through Handler.ServeHTTP: each step adds what
// it has found out.
type call struct {
	*Handler
	w     http.ResponseWriter
	r     *http.Request
	begun time.Time
	asked asked
	namespace.Resolved
	who     identity.Proven
	pull    bool // of a private manifest, which is counted
	options wire.Options
}

// understand finds out what the client asks for and, unless it returns an error, which
// repository of which registry that is about. It does no I/O.
func (c *call) understand() (err error) {
	c.asked = readAsked(c.r, identity.AtRegistry)
	c.options = wire.Options{Log: c.log, Challenge: c.challenge, Observe: c.observe, Explain: c.explain}
	if c.Request, err = wire.Parse(c.r.Method, c.r.URL); err == nil {
		site := c.site
		site.Host = c.asked.conn.Host
		c.Resolved, err = namespace.Resolve(c.Request, site)
	}
	addLogFields(c.r, c.Request, c.Mirror)
	return err
}

// admit finds out who calls, and opens the storage: it must be released, unless admit
// returns an error. An error of understand is answered here, when it is known who learns
// of it.
func (c *call) admit(unresolved error) (*namespace.Union, error) {
	if unresolved != nil && !c.Kind.Writes() {
		c.who = c.presumed(c.r, c.asked)
		return nil, unresolved
	}
	union, err := c.app.acquire(c.r.Context())
	if err != nil {
		return nil, cmp.Or(unresolved, err)
	}
	c.who, err = c.identify(c.r, &c.asked, c.Request)
	if err = cmp.Or(err, unresolved); err != nil { // the name after the caller, so that the audit can name who asked
		c.app.storage.Release()
		return nil, err
	}
	return union, nil
}

// wrap counts the use, and returns what the caller may do with the registry that the request
// is for.
func (c *call) wrap(union *namespace.Union) core.Registry {
	c.who.Address = c.asked.credential.Address
	c.options.Cursors = c.app.storage.Callers().Sessions
	c.options.Manifests, c.options.Sent = running.Received, running.Sent
	c.options.Caller = core.Access{Caller: c.who.User, Address: c.who.Address}
	// Docker drops a mirror that answers 401.
	c.options.NoLogin = c.fallbackOnly(c.Name)
	// Content that the upstream shows to our credentials may not be public.
	c.options.Public = c.app.policy.Allows(policies.Identity{}, policies.Read, c.Repo) &&
		(c.Mirror == "" || !c.app.Mirrors[c.Mirror].Credentialed())
	switch {
	case c.Mirror != "":
		c.app.storage.CountUse(c.Resolved, c.who.Address)
	case c.Kind == wire.Manifest && c.r.Method == http.MethodGet:
		// A HEAD does not count: clients send it to learn a digest, and for images that they have.
		c.pull = true
	}
	registry := policies.Guard(union.For(c.Resolved), c.app.policy, c.who.Identity)
	if c.Kind.Writes() {
		if c.r.Body != nil {
			c.r.Body = observe.Body(c.r.Body)
		}
		registry = observe.Changes(registry, c.app.audit, observe.By(c.who.Identity, c.who.Address))
	}
	return registry
}

// challenge is the WWW-Authenticate field of a 401.
func (c *call) challenge() string { return c.asked.challenge(c.Request) }

// observe counts and records how the call ended.
func (c *call) observe(o wire.Outcome) {
	source := observe.SourceOf(o, c.Repo, c.Mirror)
	addSource(c.r, source)
	observe.CountRequest(o, source, c.r.Method, c.begun)
	switch {
	case c.Mirror != "":
		observe.CountMirror(c.Mirror, o)
		if o.Status != http.StatusUnauthorized && o.Status != http.StatusForbidden {
			c.app.storage.CountAnswer(c.Mirror, source, o.Sent)
		}
	case c.pull:
		c.app.storage.CountPull(c.Request, c.w.Header(), o, c.who.User)
	}
	if c.Kind.Writes() {
		c.auditDenial(o)
	}
}
