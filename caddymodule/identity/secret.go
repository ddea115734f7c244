package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
)

// An API key is Prefix, 43 characters for 256 random bits, and 6 characters for the CRC-32 of all
// that precede them. All but the prefix is in base 62. Prefix and checksum are for secret
// scanners, which can recognize a key in a text without asking the registry:
//
//	cregk_[0-9A-Za-z]{49}
const (
	// Prefix begins every API key, and no other credential.
	Prefix = "cregk_"

	secretDigits   = 43
	checksumDigits = 6
	secretLength   = len(Prefix) + secretDigits + checksumDigits
)

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSecret makes an API key.
func newSecret() string {
	var bits [32]byte
	rand.Read(bits[:]) // never fails
	body := Prefix + base62(new(big.Int).SetBytes(bits[:]), secretDigits)
	return body + checksum(body)
}

// checksum returns the end of a key that begins with body.
func checksum(body string) string {
	return base62(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))), checksumDigits)
}

// isKey reports whether a credential is meant as an API key of this registry. It need
// not be well formed, or known.
func isKey(credential string) bool { return strings.HasPrefix(credential, Prefix) }

// HasKey reports whether a text may contain an API key, of this registry or of a zot, whole
// or not. Such a text belongs into no log.
func HasKey(text string) bool {
	return strings.Contains(text, Prefix) || strings.Contains(text, importedPrefix)
}

// keyLike finds what may be API keys in a sentence.
var keyLike = regexp.MustCompile(`\b(` + Prefix + `|` + importedPrefix + `)[0-9A-Za-z]{8,}`)

// MaskKeys replaces what may be API keys in a sentence.
func MaskKeys(sentence string) string { return keyLike.ReplaceAllString(sentence, "(an API key)") }

// wellFormed reports whether a credential can be a key at all.
func wellFormed(credential string) bool {
	if len(credential) != secretLength || !isKey(credential) {
		return false
	}
	return credential[secretLength-checksumDigits:] == checksum(credential[:secretLength-checksumDigits])
}

// hashed is the form in which a key is stored and looked up. The key has 256 random
// bits, so that a slow hash would protect nothing, and cost every request.
func hashed(credential string) [sha256.Size]byte { return sha256.Sum256([]byte(credential)) }

// base62 writes n with at least width digits.
func base62(n *big.Int, width int) string {
	out := make([]byte, width)
	base, digit := big.NewInt(int64(len(digits62))), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = digits62[digit.Int64()]
	}
	return string(out)
}
