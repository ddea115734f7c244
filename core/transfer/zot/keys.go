package zot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// usersBucket has a JSON object UserData for each user (zot's pkg/meta/types).
	usersBucket = "UserData"
	// maxKeys bounds the keys that are read.
	maxKeys = 10_000
)

// Key is an API key of zot, as meta.db knows it.
type Key struct {
	// Hash is the SHA-256 of the 32 hexadecimal digits that follow zak_.
	Hash    [sha256.Size]byte
	Owner   string
	Label   string
	Created time.Time
	// Expires is the zero time for a key that never does.
	Expires time.Time
}

// Keys returns the API keys, by owner and then label. Errors: those of meta.db.
func (d *Directory) Keys() (keys []Key, err error) {
	err = d.meta.each(usersBucket, func(owner string, value []byte) error {
		var user struct {
			APIKeys map[string]struct {
				Created time.Time `json:"createdAt"`
				Expires time.Time `json:"expirationDate"`
				Label   string    `json:"label"`
			}
		}
		if err := json.Unmarshal(value, &user); err != nil {
			return fmt.Errorf("user %q: %w", clip([]byte(owner)), err)
		}
		for hash, key := range user.APIKeys {
			sum, err := hex.DecodeString(hash)
			if err != nil || len(sum) != sha256.Size {
				return fmt.Errorf("user %q has a key whose hash is %q", clip([]byte(owner)), clip([]byte(hash)))
			}
			if len(keys) == maxKeys {
				return fmt.Errorf("more than %d API keys", maxKeys)
			}
			if key.Expires.Year() <= 1 {
				key.Expires = time.Time{}
			}
			keys = append(keys, Key{[sha256.Size]byte(sum), owner, key.Label, key.Created, key.Expires})
		}
		return nil
	})
	slices.SortFunc(keys, func(a, b Key) int {
		if c := strings.Compare(a.Owner, b.Owner); c != 0 {
			return c
		}
		return strings.Compare(a.Label, b.Label)
	})
	return keys, err
}
