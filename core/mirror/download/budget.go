package download

import "sync"

const (
	// maxScratch bounds the bytes of blobs that are in scratch files at once.
	maxScratch = 1 << 30
	// maxAhead bounds the requests for ranges that are in flight at once.
	maxAhead = 8
)

// Budget bounds what Downloads fetch ahead. The zero value is a whole budget. It is safe for
// concurrent use.
type Budget struct {
	mu       sync.Mutex // guards the fields below
	bytes    int64      // that are reserved
	requests int        // in flight
}

// begin reserves space for a request of want bytes, or for fewer. 0: there is none.
func (b *Budget) begin(want int64) (granted int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	granted = min(want, maxScratch-b.bytes)
	if b.requests == maxAhead || granted <= 0 {
		return 0
	}
	b.bytes += granted
	b.requests++
	return granted
}

// end returns a request, and its unused space, to the budget.
func (b *Budget) end(unused int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests--
	b.bytes -= unused
}

// free returns the space of removed bytes to the budget.
func (b *Budget) free(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= bytes
}
