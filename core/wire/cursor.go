package wire

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// Cursors seal what only this registry shall read again: a *session.Store does.
type Cursors interface {
	// Seal encrypts, for the same purpose that Unseal is told.
	Seal(purpose string, plain []byte) []byte
	Unseal(purpose string, sealed []byte) ([]byte, error)
}

const (
	// cursorMark begins a `last` that is no name: it goes on behind a name that its
	// bearer may not know.
	cursorMark    = "~"
	cursorPurpose = "catalog"
	// cursorSize is that of every cursor before it is sealed: a length and a name. Its
	// length shall not tell that of the name.
	cursorSize = 1 + core.MaxNameLength
	// maxCursor bounds what is looked at: a sealed cursor in base64.
	maxCursor = 2 * cursorSize
)

// cursor hides a name.
func (e *exchange) cursor(name string) (string, error) {
	if e.opts.Cursors == nil || len(name) > core.MaxNameLength {
		return "", fmt.Errorf("the list goes on behind a name that cannot be hidden")
	}
	plain := make([]byte, cursorSize)
	plain[0] = byte(len(name))
	copy(plain[1:], name)
	return cursorMark + base64.RawURLEncoding.EncodeToString(e.opts.Cursors.Seal(cursorPurpose, plain)), nil
}

// isCursor tells a cursor from a name, which cannot begin like one.
func isCursor(last string) bool { return strings.HasPrefix(last, cursorMark) }

// place is the name that `last` means. Errors: a malformed query.
func (e *exchange) place(last string) (string, error) {
	if !isCursor(last) {
		return last, nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(last[len(cursorMark):])
	if err == nil && e.opts.Cursors != nil {
		plain, err := e.opts.Cursors.Unseal(cursorPurpose, sealed)
		if err == nil && len(plain) == cursorSize && int(plain[0]) < cursorSize {
			return string(plain[1 : 1+int(plain[0])]), nil
		}
	}
	return "", fmt.Errorf("%w: last is no place in the catalog of this registry; begin again without it", errQuery)
}
