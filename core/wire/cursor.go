package wire

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// Cursors seal values that only this registry can read again; a *session.Store
// implements it.
type Cursors interface {
	// Seal encrypts a value for a purpose, which Unseal must be given, too.
	Seal(purpose string, plain []byte) []byte
	Unseal(purpose string, sealed []byte) ([]byte, error)
}

const (
	// cursorMark begins a `last` that is not a name: the list goes on behind a name
	// that its bearer may not know.
	cursorMark    = "~"
	cursorPurpose = "catalog"
	// cursorSize is the size of every cursor before it is sealed: a length and a name.
	// It is fixed, so that it does not reveal the length of the name.
	cursorSize = 1 + core.MaxNameLength
	// maxCursor bounds a sealed cursor in base64.
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

// isCursor reports whether last is a cursor; a name cannot begin like one.
func isCursor(last string) bool { return strings.HasPrefix(last, cursorMark) }

// place returns the name that `last` means. Errors: a malformed query.
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
	return "", fmt.Errorf("%w: last is not a place in the catalog of this registry; begin again without it", ErrQuery)
}
