package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/record"
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

const sitePrefix = "urn:caddy-registry:"

var validSite = regexp.MustCompile("^" + sitePrefix + "[A-Z2-7]{26}$") // as rand.Text makes it

// loadSite reads the random name of this registry, or makes one. Tokens of another storage are
// foreign tokens, also when both use the same host. A damaged name is replaced, which ends the
// tokens that were issued with the old one: clients get new ones.
func (s *Signer) loadSite(ctx context.Context) (string, error) {
	data, _, err := s.bucket.Get(ctx, siteObject)
	switch {
	case err == nil && validSite.Match(data):
		return string(data), nil
	case err == nil:
		s.log.Error("the registry's name in tokens is damaged, and is replaced", "record", siteObject)
	case !errors.Is(err, bucket.ErrNotExist):
		return "", err // it may be there, and is not overwritten
	}
	site := sitePrefix + rand.Text()
	if _, err := s.bucket.Put(ctx, siteObject, []byte(site), bucket.Condition{}); err != nil {
		return "", err
	}
	return site, bucket.Sync(ctx, s.bucket, siteObject)
}

// loadKeys reads the signing keys. Those that are damaged sign and verify nothing.
func loadKeys(ctx context.Context, b bucket.Bucket) (keys map[string]*heldKey, damaged map[string]error, err error) {
	keys, damaged = map[string]*heldKey{}, map[string]error{}
	for info, err := range b.List(ctx, signingPrefix, "") {
		if err != nil {
			return nil, nil, err
		}
		id := path.Base(info.Key)
		data, _, err := b.Get(ctx, info.Key)
		switch {
		case errors.Is(err, bucket.ErrNotExist):
			continue // removed meanwhile
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		var key signingKey
		if err == nil {
			err = record.Decode(data, &key)
		}
		if err == nil && key.Created.IsZero() {
			err = record.ErrDamaged
		}
		var held *heldKey
		if err == nil {
			held, err = hold(id, key)
		}
		if err != nil {
			damaged[id] = err
			continue
		}
		keys[id] = held
	}
	return keys, damaged, nil
}

// Examine returns the damaged records of tokens in a bucket, with remedies. It changes nothing.
func Examine(ctx context.Context, b bucket.Bucket) (damaged []string, err error) {
	if data, _, err := b.Get(ctx, siteObject); err == nil && !validSite.Match(data) {
		damaged = append(damaged, "the registry's name in tokens is damaged; a restart makes another one")
	}
	keys, bad, err := loadKeys(ctx, b)
	for id := range bad {
		text := fmt.Sprintf("signing key %s is not used: its record is damaged", id)
		if len(keys) == 0 {
			text += "; a restart makes another one"
		} else {
			text += "; another one signs, and the next rotation removes it"
		}
		damaged = append(damaged, text)
	}
	slices.Sort(damaged)
	return damaged, err
}

// rotate makes a new signing key if the newest is too old, and forgets keys whose tokens have all
// expired.
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
	data, err := record.Encode(key)
	if err != nil {
		return err
	}
	if _, err := s.bucket.Put(ctx, signingPrefix+id, data, bucket.Condition{IfAbsent: true}); err != nil {
		return err
	}
	if err := bucket.Sync(ctx, s.bucket, signingPrefix+id); err != nil {
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
	old := slices.Concat(slices.Collect(maps.Keys(*s.keys.Load())), s.damaged)
	for _, id := range old {
		if id == newest.id {
			continue
		}
		s.replace(*s.keys.Load(), func(next map[string]*heldKey) { delete(next, id) })
		if err := s.bucket.Delete(ctx, signingPrefix+id); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return err
		}
	}
	s.damaged = nil
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
