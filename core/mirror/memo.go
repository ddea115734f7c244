package mirror

import (
	"sync"
	"sync/atomic"
)

// memo remembers a bounded number of entries. When it is full, an arbitrary entry is dropped:
// every entry can be learned again.
type memo[K comparable, V any] struct {
	most int

	mu      sync.Mutex // guards entries, and is held while changes grows
	entries map[K]V
	changes atomic.Uint64 // counts set and drop
}

func newMemo[K comparable, V any](most int) *memo[K, V] {
	return &memo[K, V]{most: most, entries: make(map[K]V)}
}

func (m *memo[K, V]) get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.entries[k]
	return v, ok
}

// look is get for values that can be read elsewhere. put remembers the value that was read,
// unless an entry was set or dropped since the look: that one is newer. Writers change the source
// first and the memo afterwards.
func (m *memo[K, V]) look(k K) (v V, ok bool, put func(V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok = m.entries[k]
	before := m.changes.Load()
	return v, ok, func(v V) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.changes.Load() == before {
			m.put(k, v)
		}
	}
}

func (m *memo[K, V]) set(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes.Add(1)
	m.put(k, v)
}

// put makes room for an entry. m.mu is held.
func (m *memo[K, V]) put(k K, v V) {
	if _, ok := m.entries[k]; !ok && len(m.entries) >= m.most {
		for old := range m.entries {
			delete(m.entries, old)
			break
		}
	}
	m.entries[k] = v
}

func (m *memo[K, V]) drop(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes.Add(1)
	delete(m.entries, k)
}

// dropIf forgets the entries whose keys satisfy so.
func (m *memo[K, V]) dropIf(so func(K) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.entries {
		if so(k) {
			delete(m.entries, k)
		}
	}
}
