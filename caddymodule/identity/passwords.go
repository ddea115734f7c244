package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/memo"
)

const (
	// rememberFor is how long the outcome of a comparison is remembered: docker sends
	// the password with each pull. During this time a right password does not wait.
	rememberFor = 24 * time.Hour
	// maxRemembered bounds what is remembered, for each of several memories. It takes an
	// attacker some ten minutes of comparisons to fill one, which forgets its oldest.
	maxRemembered = 10_000

	// maxBefore bounds the comparisons that run before a password from a pair of address and user
	// that has not failed lately, however many others are waiting.
	maxBefore = 8
	// maxComparing bounds the comparisons that run at once, whatever the machine has.
	maxComparing = 4
	// freshPlaces is how many of these places one address, and one user, may have at once:
	// guessing the password of one user from many addresses leaves room for the others.
	freshPlaces = 4
	// maxFailingNames is how many users may fail from one address before all new
	// attempts from there queue with the failed ones.
	maxFailingNames = 10

	// maxLast is how many comparisons wait in the last queue, lastPlaces how many of them
	// one pair may have, and lastShare how many one address or one user. Further
	// attempts are refused at once.
	maxLast, lastShare, lastPlaces = 20, 10, 4

	// allowedFailures is how many failures of a pair have no cost: people mistype. Then
	// each one doubles the time until the pair is compared again, from firstDelay to
	// maxDelay, which is less than maxTurn: a right password from a failing pair is delayed, and
	// not refused.
	allowedFailures      = 3
	firstDelay, maxDelay = 250 * time.Millisecond, 8 * time.Second
	// failingFor is how long a pair is remembered after its last failure.
	failingFor = time.Hour

	// maxTurn is how long a password waits for its turn. A comparison that has begun is always
	// finished, however slow the machine is.
	maxTurn = 10 * time.Second
)

// Passwords compares passwords with their hashes, so that guessing does not lock others
// out. A comparison is slow on purpose and runs on half of the cores at most, so what
// matters is the order: a password that was right within a day is not compared again;
// then come pairs of address and user that have not failed lately; last come those that
// have, each with a delay of its own that grows with its failures.
//
// It belongs to a storage and outlives configurations. It is safe for concurrent use.
type Passwords struct {
	now   func() time.Time
	salt  [sha256.Size]byte
	cores int
	// compare is bcrypt's, but in tests.
	compare func(hash, password []byte) error

	right, wrong *memo.Memo[[sha256.Size]byte, struct{}]
	failing      *memo.Memo[pair, failure]
	names        *memo.Memo[string, int] // users that failed, by address

	mu       sync.Mutex // guards the fields below
	attempts map[[sha256.Size]byte]*attempt
	queues   [2][]*attempt // fresh and last, those that wait
	running  []*attempt
	wake     *time.Timer // nil, or when the first delay of the last queue is over
}

const (
	fresh = iota
	last
)

// pair is the origin of an attempt: guessing delays only the pair itself.
type pair struct{ address, user string }

type failure struct {
	count int
	until time.Time // before which the pair is not compared
}

// attempt is one comparison that waits or runs, for all callers with the same one.
type attempt struct {
	id      [sha256.Size]byte
	by      pair // of the first of them
	hash    string
	secret  string
	known   bool
	queue   int
	callers int           // guarded by Passwords.mu
	done    chan struct{} // closed when right is set
	right   bool
}

// NewPasswords makes an empty memory. A nil now is time.Now.
func NewPasswords(now func() time.Time) *Passwords {
	if now == nil {
		now = time.Now
	}
	p := &Passwords{
		now: now, compare: bcrypt.CompareHashAndPassword,
		cores:    min(maxComparing, max(1, runtime.GOMAXPROCS(0)/2)),
		right:    memo.New[[sha256.Size]byte, struct{}](maxRemembered, rememberFor, now),
		wrong:    memo.New[[sha256.Size]byte, struct{}](maxRemembered, rememberFor, now),
		failing:  memo.New[pair, failure](maxRemembered, failingFor, now),
		names:    memo.New[string, int](maxRemembered, failingFor, now),
		attempts: map[[sha256.Size]byte]*attempt{},
	}
	rand.Read(p.salt[:]) // never fails
	return p
}

// matches compares the password of a credential with a hash. If known is false the
// answer is false, at the same cost. Errors: core.ErrTooManyRequests if there are too
// many before it, and that of ctx.
func (p *Passwords) matches(ctx context.Context, c Credential, hash string, known bool) (bool, error) {
	id := p.digest(c.User, c.Secret, hash, fmt.Sprint(known))
	a, right, err := p.join(id, pair{network(c.Address), c.User}, hash, c.Secret, known)
	if err != nil || a == nil {
		return right, err
	}
	timer := time.NewTimer(maxTurn)
	defer timer.Stop()
	for err == nil {
		select {
		case <-a.done:
			return a.right, nil
		case <-timer.C:
			if p.waiting(a) {
				err = core.WithRetry(fmt.Errorf("%w: other passwords are being verified", core.ErrTooManyRequests), p.now().Add(maxTurn))
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	p.leave(a)
	return false, err
}

// waiting reports whether the comparison has not begun.
func (p *Passwords) waiting(a *attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.queues[a.queue], a)
}

// join returns the attempt for a comparison, or makes one; nil if the answer is known.
func (p *Passwords) join(id [sha256.Size]byte, by pair, hash, secret string, known bool) (*attempt, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, right := p.right.Get(id); right {
		return nil, true, nil
	}
	if _, wrong := p.wrong.Get(id); wrong {
		return nil, false, nil // not a guess: the sender already knows the outcome
	}
	if a := p.attempts[id]; a != nil {
		a.callers++
		if i := slices.Index(p.queues[last], a); i >= 0 && p.queueOf(by) == fresh {
			p.queues[last] = slices.Delete(p.queues[last], i, i+1)
			a.by, a.queue = by, fresh
			p.queues[fresh] = append(p.queues[fresh], a)
			p.dispatch()
		}
		return a, false, nil
	}
	a := &attempt{id: id, by: by, hash: hash, secret: secret, known: known, queue: p.queueOf(by), callers: 1, done: make(chan struct{})}
	if a.queue == last {
		of := countOf(by, p.queues[last])
		if of.pair >= lastPlaces || max(of.address, of.user) >= lastShare || len(p.queues[last]) >= maxLast {
			failed, _ := p.failing.Get(by)
			at := p.now().Add(max(time.Second, failed.until.Sub(p.now())))
			return nil, false, core.WithRetry(fmt.Errorf("%w: too many passwords are being tried", core.ErrTooManyRequests), at)
		}
	}
	p.attempts[id] = a
	p.queues[a.queue] = append(p.queues[a.queue], a)
	p.dispatch()
	return a, false, nil
}

// queueOf returns the queue of a pair. The caller holds mu, as for the functions below.
func (p *Passwords) queueOf(by pair) int {
	if _, failed := p.failing.Get(by); failed {
		return last
	}
	if names, _ := p.names.Get(by.address); names >= maxFailingNames || len(p.queues[fresh])+p.cores > maxBefore {
		return last
	}
	waiting, running := countOf(by, p.queues[fresh]), countOf(by, p.running)
	if max(waiting.address+running.address, waiting.user+running.user) >= freshPlaces {
		return last
	}
	return fresh
}

// shares are how many of some attempts are of a pair, its address and its user.
type shares struct{ pair, address, user int }

func countOf(by pair, attempts []*attempt) (of shares) {
	for _, a := range attempts {
		if a.by == by {
			of.pair++
		}
		if a.by.address == by.address {
			of.address++
		}
		if a.by.user == by.user {
			of.user++
		}
	}
	return of
}

// leave ends the wait of one caller. A comparison without waiting callers is not made.
func (p *Passwords) leave(a *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.callers--; a.callers > 0 {
		return
	}
	if i := slices.Index(p.queues[a.queue], a); i >= 0 {
		p.queues[a.queue] = slices.Delete(p.queues[a.queue], i, i+1)
		delete(p.attempts, a.id)
	}
}

// dispatch begins as many comparisons as may run.
func (p *Passwords) dispatch() {
	for len(p.running) < p.cores {
		a := p.next()
		if a == nil {
			return
		}
		p.running = append(p.running, a)
		go p.run(a)
	}
}

// next returns the first attempt whose turn it is. If none has its turn because of
// delays, dispatch runs again when the first is over.
func (p *Passwords) next() *attempt {
	if queue := p.queues[fresh]; len(queue) > 0 {
		a := queue[0]
		p.queues[fresh] = slices.Delete(queue, 0, 1)
		return a
	}
	var first time.Duration
	for i, a := range p.queues[last] {
		// One at a time, or many at once would pay for one failure.
		if slices.ContainsFunc(p.running, func(other *attempt) bool { return other.by == a.by }) {
			continue
		}
		failed, _ := p.failing.Get(a.by)
		wait := failed.until.Sub(p.now())
		if wait <= 0 {
			p.queues[last] = slices.Delete(p.queues[last], i, i+1)
			return a
		}
		if first == 0 || wait < first {
			first = wait
		}
	}
	if p.wake != nil {
		p.wake.Stop()
		p.wake = nil
	}
	if first > 0 {
		p.wake = time.AfterFunc(first, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.dispatch()
		})
	}
	return nil
}

// run compares, and notifies all waiting callers.
func (p *Passwords) run(a *attempt) {
	right := p.compare([]byte(a.hash), []byte(a.secret)) == nil && a.known
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = slices.DeleteFunc(p.running, func(other *attempt) bool { return other == a })
	delete(p.attempts, a.id)
	if right {
		p.right.Set(a.id, struct{}{})
		p.failing.Delete(a.by)
	} else {
		p.wrong.Set(a.id, struct{}{})
		p.failed(a.by)
	}
	a.right = right
	close(a.done)
	p.dispatch()
}

// failed counts a failure of a pair.
func (p *Passwords) failed(by pair) {
	f, known := p.failing.Get(by)
	if !known {
		p.names.Update(by.address, func(n int, _ bool) int { return n + 1 })
	}
	f.count++
	if extra := f.count - allowedFailures; extra >= 0 {
		delay := maxDelay
		if extra < 6 {
			delay = min(maxDelay, firstDelay<<extra)
		}
		f.until = p.now().Add(delay)
	}
	p.failing.Set(by, f)
}

// digest is the form in which passwords are remembered, so that a dump of the memory
// does not contain them.
func (p *Passwords) digest(words ...string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.salt[:])
	for _, word := range words {
		binary.Write(mac, binary.BigEndian, uint64(len(word)))
		mac.Write([]byte(word))
	}
	mac.Sum(sum[:0])
	return sum
}

// network returns the address range of one party: an IPv6 subscriber has a /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // never fails for IPv6
	return prefix.String()
}
