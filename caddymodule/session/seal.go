package session

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/eblume/caddy-registry/core/bucket"
)

// keyObject is where the storage's sealing key lies.
const keyObject = "sealing/key"

// ErrSeal is what was not sealed here, or for this, or was altered.
var ErrSeal = errors.New("the seal is broken")

// sealKey is AES-256-GCM under a key that never leaves the storage.
type sealKey struct{ cipher.AEAD }

// loadKey reads the key, or makes it: durable before anything is sealed by it.
func loadKey(ctx context.Context, b bucket.Bucket) (sealKey, error) {
	secret, _, err := b.Get(ctx, keyObject)
	if errors.Is(err, bucket.ErrNotExist) {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails
		if _, err = b.Put(ctx, keyObject, secret, bucket.Condition{IfAbsent: true}); err == nil {
			err = b.Sync(ctx, keyObject)
		}
	}
	if err != nil {
		return sealKey{}, err
	}
	if len(secret) != 32 {
		return sealKey{}, fmt.Errorf("%s has %d bytes, want 32", keyObject, len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return sealKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealKey{aead}, err
}

// Seal encrypts what only this storage shall read again. purpose says what for and
// for whom; Unseal must be told the same.
func (s *Store) Seal(purpose string, plain []byte) []byte {
	return s.key.Seal(nil, nil, plain, []byte(purpose))
}

// Unseal reverses Seal. Errors: ErrSeal.
func (s *Store) Unseal(purpose string, sealed []byte) ([]byte, error) {
	plain, err := s.key.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}
