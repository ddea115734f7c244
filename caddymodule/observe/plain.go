package observe

import (
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/memo"
)

const (
	// plainAgain is the time until the log warns again about an address that sent credentials
	// over plain HTTP.
	plainAgain = 24 * time.Hour
	// maxPlain bounds the addresses in these warnings during that time, and so the lines.
	maxPlain = 1000
)

// PlainSenders are the addresses that have sent credentials over plain HTTP, where none are
// accepted. Clients then report that the password is wrong, and hide the reason.
type PlainSenders struct{ seen *memo.Memo[string, struct{}] }

// NewPlainSenders makes a memory that goes by a clock; nil is time.Now.
func NewPlainSenders(now func() time.Time) PlainSenders {
	return PlainSenders{memo.New[string, struct{}](maxPlain, plainAgain, now)}
}

// News reports whether the log must warn about an address, an IPv6 /64.
func (p PlainSenders) News(address string) bool {
	p.seen.Expire(nil)
	if p.seen.Len() >= maxPlain {
		return false // none makes room: otherwise a flood would cause endless warnings
	}
	return p.seen.Add(core.Access{Address: address}.Principal(), struct{}{})
}
