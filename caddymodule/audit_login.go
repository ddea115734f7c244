package caddymodule

import (
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/refusal"
	"github.com/eblume/caddy-registry/core/memo"
	"github.com/eblume/caddy-registry/policies"
)

// auditLogin is somebody who signed in on a page, or a credential that was presented: by
// a request for a token that is about nothing else, as `docker login` sends one; or from
// an address from which it has not come within a day. A client that logs in for each
// pull is told of once a day, and a key that is used from elsewhere at once.
const auditLogin = "registry_login"

// auditLoginRefused is a credential that was refused, or a sign-in that failed. Of one
// address as many are recorded as of refused writes.
const auditLoginRefused = "registry_login_refused"

const (
	// loginAgain is how long a credential from an address is no news.
	loginAgain = 24 * time.Hour
	// maxLogins bounds what is remembered: some 300 bytes each. When that is too few,
	// some are told twice.
	maxLogins = 10_000
)

// logins is which credentials were told of, from where and when. It is lost at the end
// of the process, so that a restart logs each once more.
type logins struct{ told *memo.Memo[login, struct{}] }

func newLogins(now func() time.Time) logins {
	return logins{memo.New[login, struct{}](maxLogins, loginAgain, now)}
}

type login struct{ user, credential, address string }

// news takes note of a login, and tells whether it has to be told.
func (l logins) news(one login) bool {
	if _, known := l.told.Get(one); known {
		return false // as nearly each request is
	}
	return l.told.Add(one, struct{}{})
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
	if a.refused.admit(address) {
		fields = append(byWhom(policies.Identity{User: r.User, Credential: r.Credential}, address), fields...)
		a.audit.tell(auditLoginRefused, append(fields, r.Fields()...)...)
	}
}

// tellLogin tells of a credential that was verified, if that is news or explicit. The
// storage must be acquired.
func (h *Handler) tellLogin(gate *identity.Gate, who identity.Proven, a asked, at string, explicit bool) {
	if who.Anonymous() {
		return
	}
	news := h.app.shared.callers.logins.news(login{who.User, who.Credential, a.credential.Address})
	if news || explicit {
		h.app.audit.tell(auditLogin, append(byWhom(who.Identity, a.credential.Address), "method", gate.Method(a.credential), "at", at)...)
	}
}
