package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// LocalUser is a person whom the configuration knows by a password, for the day the
// provider is down.
type LocalUser struct {
	Name   string
	Hash   string // of the password, by bcrypt
	Groups []string
}

const (
	// minCost and maxCost bound how slow a hash is. A faster one would give a weak
	// password away with a copy of the configuration; the slowest that is taken costs
	// a second of one core.
	minCost, maxCost = 10, 14
	// maxPassword is what bcrypt reads of a password, in bytes. Of a longer one the
	// rest would not count.
	maxPassword = 72
	// rememberFor is how long a comparison is not made again: docker sends the
	// password with each pull.
	rememberFor = time.Minute
	// maxRemembered bounds what is remembered. Comparisons are too slow to reach it
	// within a minute by anything but an attack on many cores.
	maxRemembered = 10_000
	// maxTurn is how long a password waits for its turn.
	maxTurn = 10 * time.Second
)

// CheckPasswordHash refuses what is no hash by bcrypt, or one that is too fast or too
// slow. The error never repeats it: it may be a password.
func CheckPasswordHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return errors.New("the second word is no bcrypt hash; make one with `caddy-registry hash-password --algorithm bcrypt`")
	}
	if cost < minCost || cost > maxCost {
		return fmt.Errorf("the hash has the cost %d, and must have %d to %d; make one with `caddy-registry hash-password --algorithm bcrypt --bcrypt-cost 12`", cost, minCost, maxCost)
	}
	return nil
}

// Locals are the local users of one configuration. nil has none. A password is
// compared once at a time for each address, never on more than half of the cores, and
// not again within a minute. It is safe for concurrent use.
type Locals struct {
	users map[string]LocalUser
	names []string // sorted
	salt  [sha256.Size]byte
	now   func() time.Time
	// compare is bcrypt's, but in tests.
	compare func(hash, password []byte) error
	cores   chan struct{}

	mu         sync.Mutex // guards what follows
	remembered map[[sha256.Size]byte]comparison
	turns      map[string]*turn // by address
}

// comparison is how a password was found to be.
type comparison struct {
	right bool
	at    time.Time
}

// turn lets one password of an address be compared.
type turn struct {
	taken chan struct{}
	users int // who has it, or waits for it
}

// NewLocals takes users whose names and hashes were checked. A nil now is time.Now.
func NewLocals(users []LocalUser, now func() time.Time) *Locals {
	if len(users) == 0 {
		return nil
	}
	if now == nil {
		now = time.Now
	}
	l := &Locals{
		users: map[string]LocalUser{}, now: now, compare: bcrypt.CompareHashAndPassword,
		cores:      make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		remembered: map[[sha256.Size]byte]comparison{}, turns: map[string]*turn{},
	}
	for _, user := range users {
		l.users[user.Name] = user
		l.names = append(l.names, user.Name)
	}
	slices.Sort(l.names)
	rand.Read(l.salt[:]) // never fails
	return l
}

// localCredential is how an identity, a log and a token name the line of a user: it
// changes with the password, which ends what was issued for the old one.
const localCredential = "local_user "

func (u LocalUser) identity() policies.Identity {
	sum := sha256.Sum256([]byte(u.Hash))
	return policies.Identity{User: u.Name, Groups: u.Groups, Credential: localCredential + hex.EncodeToString(sum[:6])}
}

// IsLocal tells whether somebody is known by a password of the configuration.
func IsLocal(who policies.Identity) bool { return strings.HasPrefix(who.Credential, localCredential) }

// Knows tells whether there is a user of exactly this name.
func (l *Locals) Knows(name string) bool {
	if l == nil {
		return false
	}
	_, ok := l.users[name]
	return ok
}

// Find is a user as the configuration says now. No password was looked at.
func (l *Locals) Find(name string) (policies.Identity, bool) {
	if !l.Knows(name) {
		return policies.Identity{}, false
	}
	return l.users[name].identity(), true
}

// Recall finds a user again by the Credential that they had when their password was
// verified. It reports false when the line is gone, or has another hash.
func (l *Locals) Recall(name, credential string) (policies.Identity, bool) {
	who, ok := l.Find(name)
	if !ok || who.Credential != credential {
		return policies.Identity{}, false
	}
	return who, true
}

// authenticate verifies a password. An unknown name costs what a known one does.
// Errors: ErrUnknownKind, core.ErrTooManyRequests if its turn did not come, and that
// of ctx.
func (l *Locals) authenticate(ctx context.Context, c Credential) (Proven, error) {
	right, err := l.matches(ctx, c)
	if err != nil {
		return Proven{}, err
	}
	user, known := l.users[c.User]
	if !right || !known {
		return Proven{}, ErrUnknownKind
	}
	return Proven{Identity: user.identity()}, nil
}

func (l *Locals) matches(ctx context.Context, c Credential) (bool, error) {
	if len(c.Secret) > maxPassword {
		return false, nil
	}
	user, known := l.users[c.User]
	if !known {
		user = l.standIn(c.User)
	}
	id := l.digest(c.User, c.Secret)
	if found, ok := l.recent(id); ok {
		return found.right, nil
	}
	leave, err := l.wait(ctx, c.Address)
	if err != nil {
		return false, err
	}
	defer leave()
	if found, ok := l.recent(id); ok { // whoever was first had the same password
		return found.right, nil
	}
	right := l.compare([]byte(user.Hash), []byte(c.Secret)) == nil && known
	l.remember(id, right)
	return right, nil
}

// standIn is the user with whose hash an unknown name's password is compared: always
// the same for a name, so that time does not tell which names there are, also when the
// hashes have different costs.
func (l *Locals) standIn(name string) LocalUser {
	sum := l.digest(name)
	return l.users[l.names[binary.BigEndian.Uint64(sum[:])%uint64(len(l.names))]]
}

// digest is how passwords are remembered: a dump of the memory has none of them.
func (l *Locals) digest(words ...string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, l.salt[:])
	for _, word := range words {
		binary.Write(mac, binary.BigEndian, uint64(len(word)))
		mac.Write([]byte(word))
	}
	mac.Sum(sum[:0])
	return sum
}

func (l *Locals) recent(id [sha256.Size]byte) (comparison, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.remembered[id]
	return found, ok && l.now().Sub(found.at) < rememberFor
}

func (l *Locals) remember(id [sha256.Size]byte, right bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for old, found := range l.remembered {
		if now.Sub(found.at) >= rememberFor {
			delete(l.remembered, old)
		}
	}
	if len(l.remembered) >= maxRemembered {
		clear(l.remembered)
	}
	l.remembered[id] = comparison{right, now}
}

// wait returns when it is the turn of a password from an address, and what ends it.
func (l *Locals) wait(ctx context.Context, address string) (leave func(), err error) {
	l.mu.Lock()
	t := l.turns[address]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		l.turns[address] = t
	}
	t.users++
	l.mu.Unlock()
	gone := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(l.turns, address)
		}
	}
	timer := time.NewTimer(maxTurn)
	defer timer.Stop()
	for i, queue := range []chan struct{}{t.taken, l.cores} {
		select {
		case queue <- struct{}{}:
			continue
		case <-timer.C:
			err = core.WithRetry(fmt.Errorf("%w: other passwords are being verified", core.ErrTooManyRequests), l.now().Add(maxTurn))
		case <-ctx.Done():
			err = ctx.Err()
		}
		if i > 0 {
			<-t.taken
		}
		gone()
		return nil, err
	}
	return func() { <-l.cores; <-t.taken; gone() }, nil
}
