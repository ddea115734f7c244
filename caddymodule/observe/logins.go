package observe

import (
	"time"

	"github.com/eblume/caddy-registry/core/memo"
)

// EventLogin is a sign-in on a page, or the use of a credential: in a request for a token
// without a scope, as `docker login` sends it; or from an address that has not used it within a
// day. A client that logs in for each pull is recorded once a day, and a key that is used from
// a new address at once.
const EventLogin = "registry_login"

// EventLoginRefused is a refused credential or a failed sign-in. As many are recorded for each
// address as refused writes.
const EventLoginRefused = "registry_login_refused"

const (
	// loginAgain is how long a credential from an address is not logged again.
	loginAgain = 24 * time.Hour
	// maxLogins bounds the remembered logins, of about 300 bytes each. If there are more, some
	// are logged twice.
	maxLogins = 10_000
)

// Logins remembers which credentials have already been logged, per address. It is lost at the
// end of the process, so after a restart each is logged once more.
type Logins struct{ told *memo.Memo[Login, struct{}] }

// NewLogins makes a memory with a clock; nil is time.Now.
func NewLogins(now func() time.Time) Logins {
	return Logins{memo.New[Login, struct{}](maxLogins, loginAgain, now)}
}

// Login is a credential that was presented.
type Login struct{ User, Credential, Address string }

// News records a login, and reports whether it must be logged.
func (l Logins) News(one Login) bool {
	if _, known := l.told.Get(one); known {
		return false // the case of nearly every request
	}
	return l.told.Add(one, struct{}{})
}
