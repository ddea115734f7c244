package caddymodule

import (
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// auditLogin is somebody who signed in on a page, or a credential that was presented: by
// a request for a token that is about nothing else, as `docker login` sends one; or from
// an address from which it has not come within a day. A client that logs in for each
// pull is told of once a day, and a key that is used from elsewhere at once.
const auditLogin = "registry_login"

const (
	// loginAgain is how long a credential from an address is no news.
	loginAgain = 24 * time.Hour
	// maxLogins bounds what is remembered: some 200 bytes each. When that is too few,
	// some are told twice.
	maxLogins = 10_000
)

// logins is which credentials were told of, from where and when. It is lost at the end
// of the process, so that a restart tells of each once more.
type logins struct {
	mu   sync.RWMutex // guards told
	told map[login]time.Time
}

type login struct{ user, credential, address string }

// news takes note of a login, and tells whether it has to be told.
func (l *logins) news(one login, now time.Time) bool {
	l.mu.RLock()
	at, known := l.told[one]
	l.mu.RUnlock()
	if known && now.Sub(at) < loginAgain {
		return false // as nearly each request is
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, known := l.told[one]; known && now.Sub(at) < loginAgain {
		return false // somebody was faster
	}
	if l.told == nil {
		l.told = map[login]time.Time{}
	}
	if len(l.told) >= maxLogins {
		for old, at := range l.told {
			if now.Sub(at) >= loginAgain {
				delete(l.told, old)
			}
		}
		if len(l.told) >= maxLogins {
			clear(l.told)
		}
	}
	l.told[one] = now
	return true
}

// tellLogin tells of a credential that was verified, if that is news or explicit. The
// storage must be acquired.
func (h *Handler) tellLogin(gate *identity.Gate, who identity.Proven, a asked, at string, explicit bool) {
	if who.Anonymous() {
		return
	}
	news := h.app.shared.callers.logins.news(login{who.User, who.Credential, a.credential.Address}, time.Now())
	if news || explicit {
		h.app.audit.tell(auditLogin, append(byWhom(who.Identity, a.credential.Address), "method", gate.Method(a.credential), "at", at)...)
	}
}
