package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/refusal"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// provisionAudit finds whom to tell.
func (a *App) provisionAudit(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.strangers, a.refused = observe.NewStrangers(nil), observe.NewStrangers(nil)
	a.audit = observe.NewAudit(ctx, app.(*caddyevents.App))
	return nil
}

// tellRefused records that err refused what a presents, if it did. It reports whether.
func (h *Handler) tellRefused(who identity.Proven, a asked, at string, err error, fields ...any) bool {
	refused, ok := refusal.Of(a.credential, err)
	if ok && refused.Reason == refusal.PlainHTTP {
		h.warnOfPlain(a)
	}
	if ok {
		h.app.tellRefusal(refused, a.credential.Address, append([]any{"method", who.Method, "at", at}, fields...)...)
	}
	return ok
}

// tellRefusal makes the record of a refused login, unless there are too many.
func (a *App) tellRefusal(r refusal.Refusal, address string, fields ...any) {
	if a.refused.Admit(address) {
		fields = append(observe.By(policies.Identity{User: r.User, Credential: r.Credential}, address), fields...)
		a.audit.Tell(observe.EventLoginRefused, append(fields, r.Fields()...)...)
	}
}

// tellLogin tells of a credential that was verified, if that is news or explicit. The
// storage must be acquired.
func (h *Handler) tellLogin(who identity.Proven, a asked, at string, explicit bool) {
	if who.Anonymous() {
		return
	}
	news := h.app.storage.Callers().Logins.News(observe.Login{User: who.User, Credential: who.Credential, Address: a.credential.Address})
	if news || explicit {
		h.app.audit.Tell(observe.EventLogin, append(observe.By(who.Identity, a.credential.Address), "method", who.Method, "at", at)...)
	}
}

// auditDenial records a refused write. If the credential was refused, a refused login is
// recorded instead.
func (c *call) auditDenial(o wire.Outcome) {
	if o.Err == nil || c.asked.refused {
		return
	}
	address := c.asked.credential.Address
	// A caller who may not read is told that there is no such repository. So is an
	// anonymous one where a login may not be asked for.
	hidden := errors.Is(o.Err, core.ErrNameUnknown) && !c.app.policy.Allows(c.who.Identity, policies.Read, c.Repo)
	switch {
	case !c.who.Anonymous() && (o.Status == http.StatusForbidden || hidden):
	case o.Status == http.StatusForbidden, o.Status == http.StatusUnauthorized, hidden:
		// Nobody has said who it is: a stranger, a name that nobody claims, a
		// site that takes no writes.
		if !c.app.strangers.Admit(address) {
			return
		}
	default:
		return
	}
	fields := append(observe.By(c.who.Identity, address), "repository", c.Repo, "action", c.Kind.String(), "status", o.Status)
	if len(c.Tags) > 0 {
		fields = append(fields, "tags", c.Tags)
	}
	c.app.audit.Tell(observe.EventDenied, append(fields, "error", o.Err.Error())...)
}

// reportStrangers reports, until ctx ends, how many events were left out of the audit log.
func (a *App) reportStrangers(ctx context.Context) {
	tick := time.NewTicker(observe.StrangerWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.audit.TellUnrecorded(observe.EventDenied, a.strangers)
			a.audit.TellUnrecorded(observe.EventLoginRefused, a.refused)
		}
	}
}
