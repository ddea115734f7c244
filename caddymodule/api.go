package caddymodule

import (
	"net/http"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// apiAt is where the audit says that a credential was presented.
const apiAt = "/api/"

// serveAPI answers a request for a path that api.Serves names, and reports whether it did: what is for
// administrators does not exist for others. Unlike a call below /v2/ it counts no use of a mirror:
// looking is not pulling.
func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request) bool {
	c := &call{Handler: h, w: w, r: r, begun: time.Now(), asked: readAsked(r, identity.AtRegistry)}
	union, err := h.app.acquire(r.Context())
	if err != nil {
		c.failAPI(w, r, "", err)
		return true
	}
	defer h.app.storage.Release()
	c.who, err = c.asksAPI()
	if r.URL.Path == api.StoragePath && (err != nil || !h.app.policy.Allows(c.who.Identity, policies.Admin, "")) {
		return false
	}
	if err != nil {
		c.asked.refused = true
		c.failAPI(w, r, "", err)
		return true
	}
	c.who.Address = c.asked.credential.Address
	guarded := policies.Guard(union, h.app.policy, c.who.Identity)
	(&api.API{
		Registry: observe.Changes(guarded, h.app.audit, observe.By(c.who.Identity, c.who.Address)),
		Mirror:   h.mirrorOf, Rights: c.rights, MayDelete: func(repo string) error {
			return policies.May(h.app.policy, c.who.Identity, policies.Delete, repo)
		}, View: h.overview(guarded, c.who.Identity),
		Cursors: h.app.storage.Callers().Sessions, ReadOnly: h.ReadOnly, Fail: c.failAPI, Log: c.log,
	}).ServeHTTP(w, r)
	return true
}

// mirrorOf returns the mirror of a canonical name, or "".
func (h *Handler) mirrorOf(repo string) string {
	mirror, _ := h.site.Owner(repo)
	return mirror
}

// asksAPI finds out who asks: by the credential, or else by the session of a browser. The storage
// must be acquired.
func (c *call) asksAPI() (identity.Proven, error) {
	_, presents := c.r.Header["Authorization"]
	if !presents && c.signsIn() {
		spec, err := c.app.signIn.spec()
		if err != nil {
			return identity.Proven{}, err
		}
		if who, ok := c.pages(spec).SignedIn(c.r); ok {
			proven := identity.Proven{Identity: who}
			addIdentity(c.r, proven)
			return proven, nil
		}
	}
	who, err := c.Handler.admit(c.r.Context(), c.gate(), c.asked, nil)
	if err != nil {
		c.tellRefused(who, c.asked, apiAt, err)
		return who, err
	}
	addIdentity(c.r, who)
	c.tellLogin(who, c.asked, apiAt, false)
	return who, nil
}

// failAPI answers with an error. A refused deletion is audited as below /v2/.
func (c *call) failAPI(w http.ResponseWriter, r *http.Request, repo string, err error) {
	options := wire.Options{Log: c.log, Challenge: c.challenge}
	if r.Method == http.MethodDelete && repo != "" {
		c.Resolved = namespace.Resolved{Request: wire.Request{Kind: wire.DeleteManifest, Name: repo, Repo: repo}, Mirror: c.mirrorOf(repo)}
		options.Observe = c.auditDenial
	}
	wire.Fail(w, r, c.Request, err, options)
}
