package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// importedPrefix begins the keys of zot: 32 hexadecimal digits follow, of which zot
	// keeps the SHA-256 (zot's pkg/api/authn.go, hashUUID). They are recognized here only while
	// the storage has an imported one.
	importedPrefix = "zak_"
	importedDigits = 32
	// importedUser begins the users of imported keys. No person and no local user has
	// a colon in the name, so no rule about one is about such a key.
	importedUser = "zot:"
	// importedMarks are below this prefix of the bucket: an empty object for each key
	// that was imported once. They stay when the key's record is forgotten.
	importedMarks = "imported/"
	// byImport is the maker of an imported key.
	byImport = "import"
)

// ErrKeyImported is a key that was imported before. It is left as it is, also if it was
// revoked or has expired since.
var ErrKeyImported = errors.New("the key was imported before")

// ImportedKey is an API key of a zot.
type ImportedKey struct {
	// Hash is the SHA-256 of the part after zak_ in the key.
	Hash [sha256.Size]byte
	// Owner is its user there, and Name its label.
	Owner, Name string
	// Groups are those that it has here: no others.
	Groups  []string
	Created time.Time
	// Expires is when it ends there; zero: never. Here it lasts as long as a new key at most.
	Expires time.Time
}

// Import takes a key from zot as a service key of its own user, zot:<owner>, so that it has
// its groups and the rights of any signed-in caller, and nothing else: no rule matches it by its
// label or owner. It returns when the key is durable. Errors: ErrKeyImported, ErrKeyInvalid,
// ErrUserInvalid, ErrTooManyKeys.
func (k *Keys) Import(ctx context.Context, want ImportedKey) (Key, error) {
	key, err := k.planImport(ctx, want)
	if errors.Is(err, ErrKeyImported) { // by an import that may have ended before it noted this
		return key, errors.Join(err, k.markImported(ctx, key.ID))
	} else if err != nil {
		return key, err
	}
	k.creating.Lock()
	defer k.creating.Unlock()
	if err := k.room(owner{key.User, true}); err != nil {
		return Key{}, err
	}
	record, err := k.records.update(ctx, key.ID, func(old keyRecord, exists bool) (keyRecord, error) {
		if exists {
			return old, ErrKeyImported
		}
		return keyRecord{key, want.Hash[:]}, nil
	})
	if err == nil {
		_, err = k.hold(record)
	}
	if err == nil || errors.Is(err, ErrKeyImported) {
		err = errors.Join(err, k.markImported(ctx, key.ID))
	}
	if err != nil {
		return Key{}, fmt.Errorf("import key %q: %w", key.Name, err)
	}
	k.report(Made, key, byImport)
	return key, nil
}

// PlanImport returns the key that Import would make, and changes nothing. Errors: as Import.
func (k *Keys) PlanImport(ctx context.Context, want ImportedKey) (Key, error) {
	key, err := k.planImport(ctx, want)
	if err == nil {
		err = k.room(owner{key.User, true})
	}
	return key, err
}

func (k *Keys) planImport(ctx context.Context, want ImportedKey) (Key, error) {
	now := k.now().UTC().Truncate(time.Second)
	sum := sha256.Sum256(want.Hash[:]) // so that the ID does not reveal the hash
	key := Key{
		ID: hex.EncodeToString(sum[:policies.KeyIDLength/2]), User: importedUser + want.Owner, Name: want.Name,
		Service: true, Imported: true, Groups: slices.Clone(want.Groups),
		By: byImport, Created: want.Created.UTC(), Expires: now.Add(k.MaxLifetime()),
	}
	if key.Created.IsZero() || key.Created.After(now) {
		key.Created = now
	}
	if !want.Expires.IsZero() && want.Expires.Before(key.Expires) {
		key.Expires = want.Expires.UTC()
	}
	for _, name := range []string{want.Owner, key.User} {
		if err := checkName(name); err != nil {
			return Key{}, err
		}
	}
	if err := k.check(&NewKey{User: "zot", Name: key.Name, Service: true, Groups: key.Groups}); err != nil {
		return Key{}, err
	}
	if !key.Active(now) {
		return Key{}, fmt.Errorf("%w: it expired on %s", ErrKeyInvalid, key.Expires.Format(time.DateOnly))
	}
	_, err := k.bucket.Stat(ctx, importedMarks+key.ID)
	if _, held := k.Get(key.ID); held || err == nil {
		return key, ErrKeyImported
	}
	if !errors.Is(err, bucket.ErrNotExist) {
		return Key{}, err
	}
	return key, nil
}

// markImported notes, durably, that a key was imported.
func (k *Keys) markImported(ctx context.Context, id string) error {
	name := importedMarks + id
	_, err := k.bucket.Put(context.WithoutCancel(ctx), name, nil, bucket.Condition{IfAbsent: true})
	if err != nil && !errors.Is(err, bucket.ErrExist) {
		return err
	}
	return bucket.Sync(ctx, k.bucket, name)
}

// presents reports whether a credential is meant as a key of this storage.
func (k *Keys) presents(credential string) bool {
	if isKey(credential) {
		return true
	}
	_, ok := importedHash(credential)
	return ok && k.imported.Load()
}

// importedHash returns the hash of a key of zot, if the credential looks like one.
func importedHash(credential string) ([sha256.Size]byte, bool) {
	digits, ok := strings.CutPrefix(credential, importedPrefix)
	if !ok || len(digits) != importedDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256([]byte(digits)), true
}
