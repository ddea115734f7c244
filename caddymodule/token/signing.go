package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// rotation is how long a key signs.
	rotation = 30 * 24 * time.Hour
	// overlap is how long a key is still believed that signs no more: as long as
	// the last token that it signed, and some more for clocks.
	overlap = MaxLifetime + 5*time.Minute
	// rotationCheck is how often the age of the keys is looked at.
	rotationCheck = time.Hour

	signingPrefix = "signing/"
	siteObject    = "site"
)

// signingKey is a key on the disk.
type signingKey struct {
	Seed    []byte    `json:"seed"`
	Created time.Time `json:"created"`
}

// heldKey is a key in memory.
type heldKey struct {
	id      string
	created time.Time
	public  ed25519.PublicKey
	signer  jose.Signer
}

func hold(id string, key signingKey) (*heldKey, error) {
	if len(key.Seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key %s is not one", id)
	}
	private := ed25519.NewKeyFromSeed(key.Seed)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &heldKey{id, key.Created, private.Public().(ed25519.PublicKey), signer}, nil
}

// loadSite reads the random name of this registry, or gives it one. Tokens of another
// storage are strangers' tokens, also when both have one host.
func loadSite(ctx context.Context, b bucket.Bucket) (string, error) {
	data, _, err := b.Get(ctx, siteObject)
	if err == nil {
		return string(data), nil
	}
	if !errors.Is(err, bucket.ErrNotExist) {
		return "", err
	}
	site := "urn:caddy-registry:" + rand.Text()
	if _, err := b.Put(ctx, siteObject, []byte(site), bucket.Condition{IfAbsent: true}); err != nil {
		return "", err
	}
	return site, b.Sync(ctx, siteObject)
}

// loadKeys reads the signing keys.
func loadKeys(ctx context.Context, b bucket.Bucket) (map[string]*heldKey, error) {
	keys := map[string]*heldKey{}
	for info, err := range b.List(ctx, signingPrefix, "") {
		if err != nil {
			return nil, err
		}
		data, _, err := b.Get(ctx, info.Key)
		if err != nil {
			return nil, err
		}
		var key signingKey
		if err := json.Unmarshal(data, &key); err != nil {
			return nil, fmt.Errorf("read %s: %w", info.Key, err)
		}
		id := path.Base(info.Key)
		if keys[id], err = hold(id, key); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// rotate makes a new signing key if the newest is too old, and forgets those that
// signed nothing that could still be good.
func (s *Signer) rotate(ctx context.Context) error {
	keys, now := *s.keys.Load(), s.now()
	newest := newestOf(keys)
	if newest != nil && now.Sub(newest.created) < rotation {
		return s.forget(ctx, newest)
	}
	key := signingKey{Seed: make([]byte, ed25519.SeedSize), Created: now}
	rand.Read(key.Seed)
	var idBytes [8]byte
	rand.Read(idBytes[:])
	id := hex.EncodeToString(idBytes[:])
	held, err := hold(id, key)
	if err != nil {
		return err
	}
	data, err := json.Marshal(key)
	if err != nil {
		return err
	}
	if _, err := s.bucket.Put(ctx, signingPrefix+id, data, bucket.Condition{IfAbsent: true}); err != nil {
		return err
	}
	if err := s.bucket.Sync(ctx, signingPrefix+id); err != nil {
		return err
	}
	s.replace(keys, func(next map[string]*heldKey) { next[id] = held })
	return s.forget(ctx, held)
}

// forget removes the keys that the newest has replaced long enough ago.
func (s *Signer) forget(ctx context.Context, newest *heldKey) error {
	if s.now().Sub(newest.created) < overlap {
		return nil
	}
	keys := *s.keys.Load()
	for id := range keys {
		if id == newest.id {
			continue
		}
		s.replace(*s.keys.Load(), func(next map[string]*heldKey) { delete(next, id) })
		if err := s.bucket.Delete(ctx, signingPrefix+id, bucket.Condition{}); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replace puts a changed copy in the place of the keys.
func (s *Signer) replace(keys map[string]*heldKey, change func(map[string]*heldKey)) {
	next := make(map[string]*heldKey, len(keys)+1)
	for id, key := range keys {
		next[id] = key
	}
	change(next)
	s.keys.Store(&next)
	s.newest.Store(newestOf(next))
}

func newestOf(keys map[string]*heldKey) (newest *heldKey) {
	for _, key := range keys {
		if newest == nil || key.created.After(newest.created) {
			newest = key
		}
	}
	return newest
}
