package observe

import (
	"time"

	"github.com/eblume/caddy-registry/core/memo"
)

// EventLogin is somebody who signed in on a page, or a credential that was presented: by
// a request for a token that is about nothing else, as `docker login` sends one; or from
// an address from which it has not come within a day. A client that logs in for each
// pull is told of once a day, and a key that is used from elsewhere at once.
const EventLogin = "registry_login"

// EventLoginRefused is a credential that was refused, or a sign-in that failed. Of one
// address as many are recorded as of refused writes.
const EventLoginRefused = "registry_login_refused"

const (
	// loginAgain is how long a credential from an address is not logged again.
	loginAgain = 24 * time.Hour
	// maxLogins bounds the remembered logins, of some 300 bytes each. If there are more, some
	// are logged twice.
	maxLogins = 10_000
)

// Logins remembers which credentials have already been logged, per address. It is lost at the
// end of the process, so that a restart logs each once more.
type Logins struct{ told *memo.Memo[Login, struct{}] }

// NewLogins makes a memory that goes by a clock; nil is time.Now.
func NewLogins(now func() time.Time) Logins {
	return Logins{memo.New[Login, struct{}](maxLogins, loginAgain, now)}
}

// Login is a credential that was presented.
type Login struct{ User, Credential, Address string }

// News takes note of a login, and reports whether it has to be logged.
func (l Logins) News(one Login) bool {
	if _, known := l.told.Get(one); known {
		return false // as nearly each request is
	}
	return l.told.Add(one, struct{}{})
}
