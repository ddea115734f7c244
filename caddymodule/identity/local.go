package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/policies"
)

// LocalUser is a person with a password in the configuration, for the day when the
// provider is down.
type LocalUser struct {
	Name   string
	Hash   string // of the password, by bcrypt
	Groups []string
}

const (
	// minCost and maxCost bound how slow a hash is. A faster one would give a weak
	// password away with a copy of the configuration; the slowest accepted one costs a second of
	// one core.
	minCost, maxCost = 10, 14
	// maxPassword is how many bytes of a password bcrypt reads. The rest of a longer
	// one would not count.
	maxPassword = 72
)

// CheckPasswordHash refuses a text that is not a bcrypt hash, or a hash that is too
// fast or too slow. The error never repeats it: it may be a password.
func CheckPasswordHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return errors.New("the password hash is not a bcrypt hash; create one with `caddy-registry hash-password --algorithm bcrypt`")
	}
	if cost < minCost || cost > maxCost {
		return fmt.Errorf("the hash has the cost %d, and must have %d to %d; make one with `caddy-registry hash-password --algorithm bcrypt --bcrypt-cost 12`", cost, minCost, maxCost)
	}
	return nil
}

// Locals are the local users of one configuration. nil has no users. It is safe for
// concurrent use.
type Locals struct {
	users     map[string]LocalUser
	names     []string // sorted
	passwords *Passwords
}

// NewLocals makes Locals of users whose names and hashes were checked, and of the
// Passwords that compares their passwords; nil: a new one.
func NewLocals(users []LocalUser, passwords *Passwords) *Locals {
	if len(users) == 0 {
		return nil
	}
	if passwords == nil {
		passwords = NewPasswords(nil)
	}
	l := &Locals{users: map[string]LocalUser{}, passwords: passwords}
	for _, user := range users {
		l.users[user.Name] = user
		l.names = append(l.names, user.Name)
	}
	slices.Sort(l.names)
	return l
}

// localCredential is how an identity, a log and a token name the line of a user. The name changes
// with the password, which ends tokens and sessions that were issued for the old one.
const localCredential = "local_user "

func (u LocalUser) identity() policies.Identity {
	sum := sha256.Sum256([]byte(u.Hash))
	return policies.Identity{User: u.Name, Groups: u.Groups, Credential: localCredential + hex.EncodeToString(sum[:6])}
}

// IsLocal reports whether an identity comes from a password of the configuration.
func IsLocal(who policies.Identity) bool { return strings.HasPrefix(who.Credential, localCredential) }

// Knows reports whether there is a user of exactly this name.
func (l *Locals) Knows(name string) bool {
	if l == nil {
		return false
	}
	_, ok := l.users[name]
	return ok
}

// Names returns the names of all, in order.
func (l *Locals) Names() []string {
	if l == nil {
		return nil
	}
	return slices.Clone(l.names)
}

// Groups returns the groups of a user as configured now, or nil if there is no such user.
func (l *Locals) Groups(name string) []string {
	who, _ := l.find(name)
	return who.Groups
}

// find returns a user as configured now. It does not check a password.
func (l *Locals) find(name string) (policies.Identity, bool) {
	if !l.Knows(name) {
		return policies.Identity{}, false
	}
	return l.users[name].identity(), true
}

// Recall returns the user that had this Credential when the password was verified. It returns
// false when the line is gone, or has another hash.
func (l *Locals) Recall(name, credential string) (policies.Identity, bool) {
	who, ok := l.find(name)
	if !ok || who.Credential != credential {
		return policies.Identity{}, false
	}
	return who, true
}

// authenticate verifies a password. An unknown name takes as long as a known one. Errors:
// ErrUnknownKind, core.ErrTooManyRequests if its turn did not come, and that of ctx.
func (l *Locals) authenticate(ctx context.Context, c Credential) (Proven, error) {
	if len(c.Secret) > maxPassword {
		return Proven{}, ErrUnknownKind
	}
	user, known := l.users[c.User]
	if !known {
		user = l.standIn(c.User)
	}
	right, err := l.passwords.matches(ctx, c, user.Hash, known)
	if err != nil {
		return Proven{}, err
	}
	if !right {
		return Proven{}, ErrUnknownKind
	}
	return Proven{Identity: user.identity()}, nil
}

// standIn returns the user with whose hash an unknown name's password is compared. It
// is always the same for a name, so that the time does not reveal which names exist,
// even if the hashes have different costs.
func (l *Locals) standIn(name string) LocalUser {
	sum := l.passwords.digest(name)
	return l.users[l.names[binary.BigEndian.Uint64(sum[:])%uint64(len(l.names))]]
}
