package redis

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// An entry is a version, the second in which it ends, a MAC, and the value. The MAC
// covers the key too, and keys begin with their purpose: an entry that was written
// under one key is invalid under another.
const (
	version    = 1
	endOffset  = 1
	macOffset  = endOffset + 8
	headerSize = macOffset + sha256.Size
)

// maxAge bounds the age of every entry, and so how long an attacker who can write
// to Redis can replay an old one.
const maxAge = 24 * time.Hour

// Reasons why an entry is not used. Both are ordinary: Redis is not trusted.
var (
	errForged  = errors.New("not an entry that was written with this secret for this key")
	errExpired = errors.New("the entry is too old")
)

// sealer makes and checks entries with one secret.
type sealer struct{ key []byte }

// newSealer derives the key of the MACs from the secret, so that the secret itself
// is not used as a key.
func newSealer(secret []byte) sealer {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("caddy-registry: entries of the manifest cache"))
	return sealer{mac.Sum(nil)}
}

// mac computes the MAC over the header before it, the key with its length, and the
// value.
func (s sealer) mac(to []byte, key string, header, value []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(header)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	mac.Write([]byte(key))
	mac.Write(value)
	return mac.Sum(to)
}

// seal makes the entry of a key and a value that is valid until end.
func (s sealer) seal(key string, value []byte, end time.Time) []byte {
	entry := make([]byte, macOffset, headerSize+len(value))
	entry[0] = version
	binary.BigEndian.PutUint64(entry[endOffset:], uint64(end.Unix()))
	entry = s.mac(entry, key, entry[:macOffset], value)
	return append(entry, value...)
}

// open returns the value of an entry. Errors: errForged, errExpired.
func (s sealer) open(key string, entry []byte, now time.Time) ([]byte, error) {
	if len(entry) < headerSize || entry[0] != version {
		return nil, errForged
	}
	value := entry[headerSize:]
	if !hmac.Equal(entry[macOffset:headerSize], s.mac(nil, key, entry[:macOffset], value)) {
		return nil, errForged
	}
	if uint64(now.Unix()) >= binary.BigEndian.Uint64(entry[endOffset:]) {
		return nil, errExpired
	}
	return value, nil
}
