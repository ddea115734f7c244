package identity

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/eblume/caddy-registry/caddymodule/record"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// DefaultLifetime is the longest, and the ordinary, life of a key.
	DefaultLifetime = 90 * 24 * time.Hour
	// Announced is how long before its end a key is announced.
	Announced = 14 * 24 * time.Hour
	// maxLabel bounds a key's name, in bytes.
	maxLabel = 100
	// maxListed bounds a key's groups, actions and globs: a record is read whole.
	maxListed = 100
	// maxFrom bounds the address of a use, in bytes: an IPv6 address with a zone has less.
	maxFrom = 100
)

// Key is an API key as it is kept: everything but the secret.
type Key struct {
	// ID names the key in logs, lists and commands. It is not a secret.
	ID string `json:"id"`
	// User is the owner of the key.
	User string `json:"user"`
	// Name is the label that its maker gave it.
	Name string `json:"name"`
	// Service keys are a service account's: Groups are their own. The groups of a
	// person's key are those of the user's record, on each request.
	Service bool     `json:"service,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	// Local keys are a local user's: the groups are those that the configuration
	// names on each request.
	Local bool `json:"local,omitempty"`
	// Imported keys are another registry's, and are recognized by its form of keys.
	Imported bool `json:"imported,omitempty"`
	// Actions and Globs narrow the rights of the key. Empty: all rights of the user.
	Actions []string `json:"actions,omitempty"`
	Globs   []string `json:"globs,omitempty"`
	// By is the maker: a user, or "command".
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Revoked is when it was revoked; zero: it was not.
	Revoked time.Time `json:"revoked,omitzero"`
	// Used is when it was last used, or the zero time. It is written in the background.
	Used time.Time `json:"used,omitzero"`
	// UsedFrom is the address of the last use, where one is known. It is written with Used.
	UsedFrom string `json:"used_from,omitempty"`
}

// Active reports whether the key itself is valid at a time.
func (k Key) Active(at time.Time) bool { return k.Revoked.IsZero() && at.Before(k.Expires) }

// Expiring reports whether the key is valid, and its end is near enough to be
// announced.
func (k Key) Expiring(at time.Time) bool {
	return k.Active(at) && k.Expires.Sub(at) <= Announced
}

// RuleLabel returns the label by which rules match the key. If it is empty they match only its
// ID. Only keys of service accounts, which administrators and commands make, have one. Keys of
// people have none, because people choose their labels themselves. Neither have keys that their
// maker made in their own name, and imported keys. Keys that were made before rules checked this
// have the same fields, and are treated alike.
func (k Key) RuleLabel() string {
	if !k.Service || k.Imported || k.By == k.User {
		return ""
	}
	return k.Name
}

// NewKey describes a key to be made.
type NewKey struct {
	User    string
	Name    string // default: "key" and the day
	Service bool
	Groups  []string // of a service account only
	Local   bool     // of a local user
	Actions []string
	Globs   []string
	// Lifetime is how long it lasts. Default, and maximum: see SetMaxLifetime.
	Lifetime time.Duration
	By       string
}

// ErrKeyInvalid is a NewKey that cannot be.
var ErrKeyInvalid = errors.New("this key cannot be made")

// ErrKeyUnknown is an ID that no key has.
var ErrKeyUnknown = errors.New("no such key")

// Keys are the API keys of one storage.
type Keys struct {
	records *records[keyRecord]
	bucket  bucket.Bucket
	now     func() time.Time
	max     atomic.Int64 // nanoseconds
	maxKeys atomic.Int64 // valid ones of a user
	watch   atomic.Pointer[func(Change, Key, string)]

	imported atomic.Bool // at least one key is Imported

	creating sync.Mutex // held from the check for room until the key is in memory

	mu     sync.RWMutex // guards the fields below, not what they point to
	byHash map[[sha256.Size]byte]*heldKey
	byID   map[string]*heldKey
	// damaged are the keys whose records cannot be read, by ID. They are refused,
	// because even whether one was revoked is unknown.
	damaged map[string]error
}

// keyRecord is a key on the disk.
type keyRecord struct {
	Key
	Hash []byte `json:"hash"`
}

const keysPrefix = "keys"

// fromPrefix begins the objects with the addresses of last uses. They stand beside those with the
// times, which earlier versions read.
const fromPrefix = "from/"

// checkKeyRecord refuses values that no key can have, which a damaged record may contain.
func checkKeyRecord(id string, r keyRecord) error {
	switch {
	case r.ID != id || len(r.Hash) != sha256.Size || r.Expires.IsZero():
		return record.ErrDamaged
	case checkName(r.User) != nil:
		return record.ErrDamaged
	}
	_, err := narrowing(r.Actions, r.Globs)
	return err
}

// heldKey is a key in memory. Its Key is replaced and never changed.
type heldKey struct {
	key     atomic.Pointer[Key]
	narrow  *policies.Narrowing
	used    atomic.Int64 // UnixNano of the last use; 0: never
	written int64        // the value of used on the disk; only writeUses accesses it
	from    atomic.Pointer[string]
	// fromWritten is the value of from on the disk; only writeUses accesses it.
	fromWritten *string
	// announced is when it was last announced; only Announce accesses it.
	announced time.Time
}

func openKeys(ctx context.Context, b bucket.Bucket, now func() time.Time) (*Keys, error) {
	records, damaged, err := loadRecords(ctx, b, keysPrefix, checkKeyRecord)
	if err != nil {
		return nil, err
	}
	// Damaged uses and announcements are dropped: they are statistics.
	uses, _, err := loadRecords[time.Time](ctx, b, "uses", nil)
	if err != nil {
		return nil, err
	}
	from, _, err := loadRecords[string](ctx, b, strings.TrimSuffix(fromPrefix, "/"), nil)
	if err != nil {
		return nil, err
	}
	announced, _, err := loadRecords[time.Time](ctx, b, strings.TrimSuffix(announcedPrefix, "/"), nil)
	if err != nil {
		return nil, err
	}
	k := &Keys{
		records: records, bucket: b, now: now, damaged: damaged,
		byHash: map[[sha256.Size]byte]*heldKey{}, byID: map[string]*heldKey{},
	}
	k.max.Store(int64(DefaultLifetime))
	k.SetMaxKeys(DefaultMaxKeys)
	names, values := records.all()
	for _, name := range names {
		held, err := k.hold(values[name])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		held.announced, _ = announced.get(name)
		if used, ok := uses.get(name); ok {
			held.written = used.UnixNano()
			held.used.Store(held.written)
		}
		if address, ok := from.get(name); ok {
			held.fromWritten = &address
			held.from.Store(&address)
		}
	}
	return k, nil
}

// hold takes a key into memory.
func (k *Keys) hold(record keyRecord) (*heldKey, error) {
	narrow, err := narrowing(record.Actions, record.Globs)
	if err != nil {
		return nil, err
	}
	held := &heldKey{narrow: narrow}
	held.key.Store(&record.Key)
	if record.Imported {
		k.imported.Store(true)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byHash[[sha256.Size]byte(record.Hash)] = held
	k.byID[record.ID] = held
	return held, nil
}

// SetMaxLifetime sets how long keys last that are made from now on, at most and by
// default. Default: 90 days.
func (k *Keys) SetMaxLifetime(d time.Duration) { k.max.Store(int64(d)) }

// MaxLifetime is how long a new key lasts at most.
func (k *Keys) MaxLifetime() time.Duration { return time.Duration(k.max.Load()) }

// Create makes a key, and returns when it is durable. The secret is shown to the user
// once and is not stored. Errors: ErrKeyInvalid, ErrUserInvalid, ErrTooManyKeys.
func (k *Keys) Create(ctx context.Context, want NewKey) (secret string, key Key, err error) {
	if err := k.check(&want); err != nil {
		return "", Key{}, err
	}
	k.creating.Lock()
	defer k.creating.Unlock()
	if err := k.room(owner{want.User, want.Service}); err != nil {
		return "", Key{}, err
	}
	if err := k.forgetDead(ctx, owner{want.User, want.Service}); err != nil {
		return "", Key{}, fmt.Errorf("make key: %w", err)
	}
	now := k.now().UTC().Truncate(time.Second)
	var id [policies.KeyIDLength / 2]byte
	rand.Read(id[:])
	key = Key{
		ID: hex.EncodeToString(id[:]), User: want.User, Name: want.Name,
		Service: want.Service, Groups: slices.Clone(want.Groups), Local: want.Local && !want.Service,
		Actions: slices.Clone(want.Actions), Globs: slices.Clone(want.Globs),
		By: want.By, Created: now, Expires: now.Add(want.Lifetime),
	}
	if key.Name == "" {
		key.Name = "key of " + now.Format(time.DateOnly)
	}
	secret = newSecret()
	hash := hashed(secret)
	record, err := k.records.update(ctx, key.ID, func(_ keyRecord, exists bool) (keyRecord, error) {
		if exists {
			return keyRecord{}, errors.New("two keys have one ID") // 48 random bits
		}
		return keyRecord{key, hash[:]}, nil
	})
	if err != nil {
		return "", Key{}, fmt.Errorf("make key: %w", err)
	}
	if _, err := k.hold(record); err != nil {
		return "", Key{}, err
	}
	k.report(Made, key, key.By)
	return secret, key, nil
}

// check refuses an invalid key, and fills in the defaults.
func (k *Keys) check(want *NewKey) error {
	if err := CheckUserName(want.User); err != nil {
		return err
	}
	limit := k.MaxLifetime()
	if want.Lifetime == 0 {
		want.Lifetime = limit
	}
	switch {
	case want.Lifetime < 0 || want.Lifetime > limit:
		return fmt.Errorf("%w: a key lasts at most %s", ErrKeyInvalid, days(limit))
	case len(want.Groups) > maxListed || len(want.Actions) > maxListed || len(want.Globs) > maxListed:
		return fmt.Errorf("%w: it has more than %d groups, actions or globs", ErrKeyInvalid, maxListed)
	case !want.Service && len(want.Groups) > 0:
		return fmt.Errorf("%w: the groups of a person are the provider's to say", ErrKeyInvalid)
	}
	if err := CheckLabel(want.Name); err != nil {
		return err
	}
	for _, group := range want.Groups {
		if strings.TrimSpace(group) == "" || strings.ContainsFunc(group, unicode.IsControl) {
			return fmt.Errorf("%w: invalid group name %q", ErrKeyInvalid, group)
		}
	}
	if _, err := narrowing(want.Actions, want.Globs); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyInvalid, err)
	}
	return nil
}

// CheckLabel refuses a label that no key can have. Errors: ErrKeyInvalid.
func CheckLabel(label string) error {
	if len(label) > maxLabel {
		return fmt.Errorf("%w: its name has at most %d bytes", ErrKeyInvalid, maxLabel)
	}
	if strings.ContainsFunc(label, unicode.IsControl) {
		return fmt.Errorf("%w: its name has a control character", ErrKeyInvalid)
	}
	return nil
}

// days is a duration as people say it.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// Revoke ends a key: it is refused from the next request on, and Revoke returns when
// that is durable. A key that is revoked already stays as it is.
// Errors: ErrKeyUnknown.
func (k *Keys) Revoke(ctx context.Context, id string) (Key, error) {
	k.mu.RLock()
	held, damaged := k.byID[id], k.damaged[id]
	k.mu.RUnlock()
	if damaged != nil {
		return k.removeDamaged(ctx, id)
	}
	if held == nil {
		return Key{}, fmt.Errorf("key %s: %w", id, ErrKeyUnknown)
	}
	changed := false
	record, err := k.records.update(ctx, id, func(old keyRecord, exists bool) (keyRecord, error) {
		if !exists { // it ended long ago, and was forgotten in this moment
			return old, ErrKeyUnknown
		}
		if old.Revoked.IsZero() {
			changed = true
			old.Revoked = k.now().UTC().Truncate(time.Second)
		}
		// It is refused at once, also when the disk does not take it.
		held.key.Store(&old.Key)
		return old, nil
	})
	if err != nil {
		return Key{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	if changed {
		k.report(Revoked, record.Key, actor(ctx))
	}
	return record.Key, nil
}

// removeDamaged removes an unreadable record, whose key is already refused.
func (k *Keys) removeDamaged(ctx context.Context, id string) (Key, error) {
	ctx, name := context.WithoutCancel(ctx), keysPrefix+"/"+id
	if err := k.bucket.Delete(ctx, name); err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return Key{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	if err := bucket.Sync(ctx, k.bucket, name); err != nil {
		return Key{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	k.mu.Lock()
	delete(k.damaged, id)
	k.mu.Unlock()
	key := Key{ID: id, Name: "damaged record", Revoked: k.now().UTC().Truncate(time.Second)}
	k.report(Revoked, key, actor(ctx))
	return key, nil
}

// Get returns a key by its ID.
func (k *Keys) Get(id string) (Key, bool) {
	k.mu.RLock()
	held := k.byID[id]
	k.mu.RUnlock()
	if held == nil {
		return Key{}, false
	}
	return held.copy(), true
}

// List returns the keys of a user, newest first, or all keys if user is empty.
func (k *Keys) List(user string) []Key {
	k.mu.RLock()
	all := slices.Collect(maps.Values(k.byID))
	k.mu.RUnlock()
	var keys []Key
	for _, held := range all {
		if key := held.copy(); user == "" || key.User == user {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return keys
}

// copy is the key as of now, with its last use.
func (h *heldKey) copy() Key {
	key := *h.key.Load()
	if used := h.used.Load(); used != 0 {
		key.Used = time.Unix(0, used).UTC()
	}
	if from := h.from.Load(); from != nil {
		key.UsedFrom = *from
	}
	return key
}

// find returns the key of a secret, or nil.
func (k *Keys) find(secret string) *heldKey {
	hash, imported := importedHash(secret)
	switch {
	case imported:
	case wellFormed(secret):
		hash = hashed(secret)
	default:
		return nil
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.byHash[hash]
}
