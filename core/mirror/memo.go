package mirror

import "sync"

// memo remembers at most so many entries. When it is full any entry makes room:
// every one can be learned again.
type memo[K comparable, V any] struct {
	most int

	mu      sync.Mutex // guards entries
	entries map[K]V
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

func (m *memo[K, V]) set(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	delete(m.entries, k)
}

// dropIf forgets the entries whose keys are so.
func (m *memo[K, V]) dropIf(so func(K) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.entries {
		if so(k) {
			delete(m.entries, k)
		}
	}
}
