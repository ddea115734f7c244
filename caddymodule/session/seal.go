package session

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"

	"github.com/eblume/caddy-registry/core/bucket"
)

// keyObject is the key of the storage's sealing key in the bucket.
const keyObject = "sealing/key"

// keySize is that of AES-256, in bytes.
const keySize = 32

// errSeal is the error for a value that was not sealed here, or for another purpose, or
// was altered.
var errSeal = errors.New("the seal is broken")

// sealKey is AES-256-GCM under a key that never leaves the storage.
type sealKey struct{ cipher.AEAD }

// loadKey reads the key, or makes it: durable before anything is sealed by it. Values
// that a damaged key has sealed are lost with it: sign-ins under way, and the refresh
// tokens of people, whose groups follow the provider again once they have signed in.
func (s *Store) loadKey(ctx context.Context) (sealKey, error) {
	secret, _, err := s.bucket.Get(ctx, keyObject)
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return sealKey{}, err // it may be there, and is not overwritten
	}
	if len(secret) != keySize {
		if err == nil {
			s.log.Error("the sealing key is damaged, and is replaced; groups follow the provider again after the next sign-in", "record", keyObject)
		}
		secret = make([]byte, keySize)
		rand.Read(secret) // never fails
		if _, err := s.bucket.Put(ctx, keyObject, secret, bucket.Condition{}); err != nil {
			return sealKey{}, err
		}
		if err := bucket.Sync(ctx, s.bucket, keyObject); err != nil {
			return sealKey{}, err
		}
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return sealKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealKey{aead}, err
}

// Examine returns the damaged records in a bucket of sessions, except sessions, which end when
// damaged. It changes nothing.
func Examine(ctx context.Context, b bucket.Bucket) (damaged []string, err error) {
	secret, _, err := b.Get(ctx, keyObject)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case len(secret) != keySize:
		damaged = append(damaged, "the sealing key is damaged; a restart makes another one, and groups follow the provider again after the next sign-in")
	}
	return damaged, nil
}

// Seal encrypts a value that only this storage can read again. purpose names the use and the
// user; Unseal must get the same.
func (s *Store) Seal(purpose string, plain []byte) []byte {
	return s.key.Seal(nil, nil, plain, []byte(purpose))
}

// Unseal reverses Seal. Errors: errSeal.
func (s *Store) Unseal(purpose string, sealed []byte) ([]byte, error) {
	plain, err := s.key.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
