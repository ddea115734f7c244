package api

import (
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// cursorSize is the size of a cursor before it is sealed, in bytes: a length and a place. It is
// fixed for the lists that leave repositories out, so that it does not reveal the length of a name:
// their places have at most a digest and a name. The tags of a repository may have longer places.
const cursorSize = 2 + 65 + core.MaxNameLength

// purpose is what a cursor of this request is sealed for: it continues only the same list.
func (e *exchange) purpose() string {
	parts := []string{"api", e.r.URL.Path}
	for _, name := range []string{"q", "kind", "in", "order", "tag", "repo", "user", "event"} {
		parts = append(parts, e.query[name])
	}
	return strings.Join(parts, "\x00")
}

// seal returns the parameter with which the list continues behind a place.
func (e *exchange) seal(at string) string {
	plain := make([]byte, max(cursorSize, 2+len(at)))
	binary.BigEndian.PutUint16(plain, uint16(len(at)))
	copy(plain[2:], at)
	if e.Cursors != nil {
		plain = e.Cursors.Seal(e.purpose(), plain)
	}
	return base64.RawURLEncoding.EncodeToString(plain)
}

// place returns where the list begins. Errors: wire.ErrQuery.
func (e *exchange) place() (string, error) {
	after := e.query["after"]
	if after == "" {
		return "", nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(after)
	if err == nil && e.Cursors != nil {
		plain, err = e.Cursors.Unseal(e.purpose(), plain)
	}
	if err == nil && len(plain) >= 2 {
		if n := int(binary.BigEndian.Uint16(plain)); n <= len(plain)-2 {
			return string(plain[2 : 2+n]), nil
		}
	}
	return "", invalid("after is not a place in this list; begin again without it")
}
