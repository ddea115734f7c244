package mirror

import (
	linked "container/list"
	"sync"
)

// weighed remembers values with a bounded total weight, in bytes. The least recently used value
// is dropped first. A value that is heavier than the bound is not remembered.
type weighed[V any] struct {
	most   int64
	weight func(key string, v V) int64

	mu      sync.Mutex // guards the fields below
	entries map[string]*linked.Element
	order   linked.List // of *weighedEntry[V], the most recently used in front
	sum     int64
	changes uint64 // counts set and drop
}

type weighedEntry[V any] struct {
	key    string
	value  V
	weight int64
}

func newWeighed[V any](most int64, weight func(string, V) int64) *weighed[V] {
	return &weighed[V]{most: most, weight: weight, entries: map[string]*linked.Element{}}
}

// look returns the value of a key. put remembers a value that was read elsewhere, like that of
// memo.look.
func (w *weighed[V]) look(key string) (v V, ok bool, put func(V)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.entries[key]; e != nil {
		w.order.MoveToFront(e)
		return e.Value.(*weighedEntry[V]).value, true, nil
	}
	before := w.changes
	return v, false, func(v V) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changes == before {
			w.put(key, v)
		}
	}
}

func (w *weighed[V]) set(key string, v V) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	w.put(key, v)
}

func (w *weighed[V]) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	w.remove(w.entries[key])
}

// dropIf forgets the values whose keys satisfy so.
func (w *weighed[V]) dropIf(so func(key string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	for key, e := range w.entries {
		if so(key) {
			w.remove(e)
		}
	}
}

// put makes room for a value. mu is held, also for the methods below.
func (w *weighed[V]) put(key string, v V) {
	w.remove(w.entries[key])
	entry := &weighedEntry[V]{key, v, w.weight(key, v)}
	if entry.weight > w.most {
		return
	}
	for w.sum+entry.weight > w.most {
		w.remove(w.order.Back())
	}
	w.entries[key] = w.order.PushFront(entry)
	w.sum += entry.weight
}

func (w *weighed[V]) remove(e *linked.Element) {
	if e == nil {
		return
	}
	entry := w.order.Remove(e).(*weighedEntry[V])
	delete(w.entries, entry.key)
	w.sum -= entry.weight
}
