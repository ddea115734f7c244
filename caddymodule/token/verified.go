package token

import (
	"crypto/sha256"

	"github.com/eblume/caddy-registry/core/memo"
)

// maxVerified is how many tokens are remembered: some hundred bytes each. The signature of a
// forgotten token is verified again when it is next used.
const maxVerified = 8192

// verified remembers tokens whose signature was good, by their hash.
type verified struct {
	tokens *memo.Memo[[sha256.Size]byte, verifiedToken]
}

type verifiedToken struct {
	claims Claims
	key    *heldKey // that signed it
}

// newVerified makes a memory that keeps each token until it is dropped for another one. Verify
// itself checks whether a token has expired.
func newVerified() verified {
	return verified{memo.New[[sha256.Size]byte, verifiedToken](maxVerified, 0, nil)}
}

func (v verified) get(raw string) (Claims, *heldKey) {
	token, _ := v.tokens.Get(sha256.Sum256([]byte(raw)))
	return token.claims, token.key
}

func (v verified) put(raw string, claims Claims, key *heldKey) {
	v.tokens.Set(sha256.Sum256([]byte(raw)), verifiedToken{claims, key})
}
