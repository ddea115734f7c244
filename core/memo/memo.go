// Package memo remembers at most so many things, each for a while: what may be
// forgotten at any time without harm, and must never grow with what strangers send.
//
// When a memo is full, the entry that was set first makes room, which is also the first
// to expire. So a flood of new entries costs the old ones their place, and never blocks
// new ones. Callers for which that would be wrong (an entry that must outlive a flood)
// keep two memos, or ask Len first.
//
//	seen := memo.New[string, int](1000, time.Minute, nil)
//	n := seen.Update(address, func(n int, _ bool) int { return n + 1 })
package memo

import (
	"sync"
	"time"
)

// Memo maps keys to values. It is safe for concurrent use; Get takes a lock that
// readers share.
type Memo[K comparable, V any] struct {
	most int
	life time.Duration
	now  func() time.Time

	mu      sync.RWMutex // guards what follows
	entries map[K]*entry[K, V]
	// ring is the head of a circular list of the entries, in the order in which they
	// were set: ring.next is the oldest.
	ring entry[K, V]
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	set        time.Time
	prev, next *entry[K, V]
}

// New returns an empty memo of at most most entries (at least one), each of which is
// forgotten life after it was set; a life of 0 means not before it makes room. A nil
// now is time.Now.
func New[K comparable, V any](most int, life time.Duration, now func() time.Time) *Memo[K, V] {
	if now == nil {
		now = time.Now
	}
	m := &Memo[K, V]{most: max(1, most), life: life, now: now, entries: map[K]*entry[K, V]{}}
	m.ring.prev, m.ring.next = &m.ring, &m.ring
	return m
}

// Get returns the value of a key, unless it was forgotten.
func (m *Memo[K, V]) Get(key K) (value V, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e := m.entries[key]; e != nil && !m.expired(e) {
		return e.value, true
	}
	return value, false
}

// Set remembers a value. The life of its entry begins anew.
func (m *Memo[K, V]) Set(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, value)
}

// Add remembers a value unless the key has one, and reports whether it did.
func (m *Memo[K, V]) Add(key K, value V) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil && !m.expired(e) {
		return false
	}
	m.set(key, value)
	return true
}

// Update replaces the value of a key in one step, and returns the new one. The life of
// an entry that is known does not begin anew. change runs under the memo's lock.
func (m *Memo[K, V]) Update(key K, change func(value V, known bool) V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil && !m.expired(e) {
		e.value = change(e.value, true)
		return e.value
	}
	var none V
	value := change(none, false)
	m.set(key, value)
	return value
}

// Delete forgets a key.
func (m *Memo[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(m.entries[key])
}

// Expire forgets what has expired, and passes it to each in the order in which it was
// set. A nil each is allowed. each runs under the memo's lock. Set does the same by
// itself, so only a caller that wants to hear of every entry that expired, or of the
// memory, needs it; such a caller asks Len before it adds.
func (m *Memo[K, V]) Expire(each func(K, V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(each)
}

// Len returns how many entries are held, including those that have expired since the
// last change.
func (m *Memo[K, V]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.entries)
}

func (m *Memo[K, V]) expired(e *entry[K, V]) bool {
	return m.life > 0 && m.now().Sub(e.set) >= m.life
}

// set puts an entry at the end of the ring. The caller holds mu, as for what follows.
func (m *Memo[K, V]) set(key K, value V) {
	m.drop(m.entries[key])
	m.expire(nil)
	if len(m.entries) >= m.most {
		m.drop(m.ring.next)
	}
	e := &entry[K, V]{key: key, value: value, set: m.now(), prev: m.ring.prev, next: &m.ring}
	e.prev.next, m.ring.prev = e, e
	m.entries[key] = e
}

func (m *Memo[K, V]) expire(each func(K, V)) {
	for e := m.ring.next; e != &m.ring && m.expired(e); e = m.ring.next {
		m.drop(e)
		if each != nil {
			each(e.key, e.value)
		}
	}
}

func (m *Memo[K, V]) drop(e *entry[K, V]) {
	if e == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	delete(m.entries, e.key)
}
