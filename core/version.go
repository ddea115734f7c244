package core

import "strings"

// The order of what stands at one place of a version: the end of a release sorts behind its
// pre-releases (1.0-rc1 before 1.0) and before its extensions (1.0 before 1.0.1).
const (
	keyWord   = 0x01 // a tag that is not a version
	keyNumber = 0x02 // the first number of a version
	keyPre    = 0x03 // "-", "_" or "+" and what follows
	keyEnd    = 0x04
	keyDigits = 0x05
	keyText   = 0x06 // letters
)

// maxKeyDigits is where the length of a number no longer fits its byte. No tag has as many.
const maxKeyDigits = 250

// VersionKey returns bytes that sort as the versions do that tags name: v1.9 before v1.10, a
// pre-release before its release, and words before all versions. "v1" and "1" have one key. Tags
// that differ only in what separates their parts are near each other; a list needs the tag itself
// as the second key. The key has no byte 0 and is at most three times as long as the tag, and 2 bytes.
//
// It is an order, not a judgement: dates (2026-11-29) and build numbers are compared number by
// number, which Semantic Versioning (semver.org, 11) does not do for a leading zero or a fourth
// number.
func VersionKey(tag string) string {
	rest := tag
	if trimmed := strings.TrimLeft(tag, "vV"); len(tag)-len(trimmed) == 1 && startsWithDigit(trimmed) {
		rest = trimmed
	}
	var key strings.Builder
	if startsWithDigit(rest) {
		key.WriteByte(keyNumber)
	} else {
		key.WriteByte(keyWord)
	}
	for rest != "" {
		switch {
		case startsWithDigit(rest):
			n := 1
			for n < len(rest) && isDigit(rest[n]) {
				n++
			}
			digits := strings.TrimLeft(rest[:n], "0")
			key.WriteByte(keyDigits)
			key.WriteByte(byte(min(len(digits), maxKeyDigits)) + 1)
			key.WriteString(digits)
			rest = rest[n:]
		case rest[0] == '-' || rest[0] == '_' || rest[0] == '+':
			key.WriteByte(keyPre)
			rest = rest[1:]
		case rest[0] == '.':
			rest = rest[1:]
		default:
			n := 1
			for n < len(rest) && !isDigit(rest[n]) && !strings.ContainsRune("-_+.", rune(rest[n])) {
				n++
			}
			key.WriteByte(keyText)
			key.WriteString(strings.ToLower(rest[:n]))
			rest = rest[n:]
		}
	}
	key.WriteByte(keyEnd)
	return key.String()
}

func startsWithDigit(s string) bool { return s != "" && isDigit(s[0]) }

func isDigit(b byte) bool { return '0' <= b && b <= '9' }
