package caddymodule

import (
	"errors"
	"net/http"

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
func (h *Handler) tellRefused(gate *identity.Gate, a asked, at string, err error, fields ...any) bool {
	refused, ok := refusal.Of(a.credential, err)
	if ok && refused.Reason == refusal.PlainHTTP {
		h.warnOfPlain(a)
	}
	if ok {
		h.app.tellRefusal(refused, a.credential.Address, append([]any{"method", gate.Method(a.credential), "at", at}, fields...)...)
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
func (h *Handler) tellLogin(gate *identity.Gate, who identity.Proven, a asked, at string, explicit bool) {
	if who.Anonymous() {
		return
	}
	news := h.app.shared.callers.logins.News(observe.Login{User: who.User, Credential: who.Credential, Address: a.credential.Address})
	if news || explicit {
		h.app.audit.Tell(observe.EventLogin, append(observe.By(who.Identity, a.credential.Address), "method", gate.Method(a.credential), "at", at)...)
	}
}

// observeDenied makes an observer that records refused writes. who and a are
// read at the end. A write whose credential was refused is told of as a refused login.
func (h *Handler) observeDenied(request wire.Request, who *identity.Proven, a *asked, next func(wire.Outcome)) func(wire.Outcome) {
	address := a.credential.Address
	return func(o wire.Outcome) {
		if next != nil {
			next(o)
		}
		if !request.Kind.Writes() || o.Err == nil || a.refused {
			return
		}
		// A caller who may not read is told that there is no such repository. So is an
		// anonymous caller who must not be asked to log in.
		hidden := errors.Is(o.Err, core.ErrNameUnknown) && !h.app.policy.Allows(who.Identity, policies.Read, request.Repo)
		switch {
		case !who.Anonymous() && (o.Status == http.StatusForbidden || hidden):
		case o.Status == http.StatusForbidden, o.Status == http.StatusUnauthorized, hidden:
			// Nobody has said who it is: a stranger, a name that nobody claims, a
			// site that takes no writes.
			if !h.app.strangers.Admit(address) {
				return
			}
		default:
			return
		}
		fields := append(observe.By(who.Identity, address), "repository", request.Repo, "action", request.Kind.String(), "status", o.Status)
		if len(request.Tags) > 0 {
			fields = append(fields, "tags", request.Tags)
		}
		h.app.audit.Tell(observe.EventDenied, append(fields, "error", o.Err.Error())...)
	}
}
