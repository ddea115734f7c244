package token

import (
	"crypto/sha256"
	"sync"
)

// maxVerified is how many tokens are remembered, twice: some hundred bytes each.
const maxVerified = 4096

// verified remembers tokens whose signature was good. It has two generations, and
// drops the older when the younger is full: a token in use moves to the younger.
type verified struct {
	mu             sync.RWMutex // guards what follows
	younger, older map[[sha256.Size]byte]verifiedToken
}

type verifiedToken struct {
	claims Claims
	key    *heldKey // that signed it
}

func newVerified() *verified {
	return &verified{younger: map[[sha256.Size]byte]verifiedToken{}}
}

func (v *verified) get(raw string) (Claims, *heldKey) {
	hash := sha256.Sum256([]byte(raw))
	v.mu.RLock()
	token, young := v.younger[hash]
	if !young {
		token = v.older[hash]
	}
	v.mu.RUnlock()
	if !young && token.key != nil {
		v.put(raw, token.claims, token.key)
	}
	return token.claims, token.key
}

func (v *verified) put(raw string, claims Claims, key *heldKey) {
	hash := sha256.Sum256([]byte(raw))
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.younger) >= maxVerified {
		v.older, v.younger = v.younger, make(map[[sha256.Size]byte]verifiedToken, maxVerified)
	}
	v.younger[hash] = verifiedToken{claims, key}
}
