package download

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A few readers are woken for every piece. Many are for the first one, and then once in
// a while: what they have not heard of they hear of soon, though nothing more comes.
func TestManyReadersAreWokenRarely(t *testing.T) {
	const piece = 8 << 10
	for _, row := range []struct {
		name    string
		readers int
		wait    time.Duration // after a second piece
	}{
		{"a few", fewReaders, 0},
		{"many", fewReaders + 1, tellWithin},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &download{users: row.readers + 1, state: growing, size: -1}
				d.changed = sync.NewCond(&d.mu)
				heard := func(want int64) {
					t.Helper()
					d.mu.Lock()
					defer d.mu.Unlock()
					if got := d.held - d.untold; got != want {
						t.Errorf("they were told of %d bytes, want %d", got, want)
					}
				}
				d.space()
				d.grow(1)
				heard(1)
				d.grow(100)
				if row.wait > 0 {
					heard(1)
					time.Sleep(row.wait)
					synctest.Wait()
				}
				heard(101)
				for left := block; left > 0; {
					n := min(piece, left, len(d.space()))
					d.grow(n)
					left -= n
				}
				heard(101 + block)
			})
		})
	}
}

// Many readers are woken as rarely for bytes that are fetched ahead.
func TestManyReadersAreWokenRarelyForARange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &download{users: fewReaders + 2, state: growing, size: 1 << 30, config: &Config{}}
		d.changed = sync.NewCond(&d.mu)
		d.ahead.file = noFile{}
		at := int64(100 << 20)
		came := func(n, untold int64) {
			t.Helper()
			_ = d.growAhead(span{at, at + n}) // no reader waits for it
			at += n
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.untold != untold {
				t.Errorf("they were not told of %d bytes, want %d", d.untold, untold)
			}
		}
		came(1, 0) // they have waited for long
		came(100, 100)
		time.Sleep(tellWithin)
		synctest.Wait()
		came(0, 0)
		came(block-1, block-1)
		d.space()
		d.grow(1) // what comes in order counts, too
		came(0, 0)
	})
}

// A reader's first piece is small, so that every reader has some bytes before any reader has
// many; then it gets all held bytes.
func TestTheFirstPieceIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &download{state: growing, size: -1}
		d.changed = sync.NewCond(&d.mu)
		d.grow(len(d.space()))
		var pieces pieces
		f := &Follower{ctx: t.Context(), d: d}
		var sum int64
		var err error
		go func() { sum, err = f.WriteTo(&pieces) }()
		synctest.Wait()
		// The last byte comes after the digest.
		if want := []int{firstPiece, block - firstPiece - 1}; !slices.Equal(pieces, want) {
			t.Errorf("got pieces of %v, want %v", pieces, want)
		}
		d.mu.Lock()
		d.state, d.size = whole, d.held
		d.changed.Broadcast()
		d.mu.Unlock()
		synctest.Wait()
		if sum != block || err != nil {
			t.Errorf("got %d bytes, %v, want %d", sum, err, block)
		}
	})
}

// pieces are the sizes of what was written.
type pieces []int

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, len(b))
	return len(b), nil
}

// A buffer that a reader is being given is not overwritten by later bytes; unused
// buffers are used again.
func TestAReaderKeepsItsBytes(t *testing.T) {
	d := &download{state: growing, size: -1}
	d.changed = sync.NewCond(&d.mu)
	fill := func(b byte) {
		space := d.space()
		for i := range space {
			space[i] = b
		}
		d.grow(len(space))
	}
	fill(1)
	held, done := d.at(0)
	first := &held[0]
	for b := range byte(5) {
		fill(2 + b)
	}
	for i, b := range held {
		if b != 1 {
			t.Fatalf("byte %d became %d", i, b)
		}
	}
	if p, _ := d.at(0); p != nil {
		t.Error("what is not the last block any more is read from memory")
	}
	done()
	fill(7)
	fill(8)
	again, done := d.at(d.held - 1)
	defer done()
	if d.tail.start != 7*block || again[0] != 8 {
		t.Errorf("the last block begins at %d with %d", d.tail.start, again[0])
	}
	if start := &d.spare.data[:1][0]; start != first && &d.tail.data[0] != first {
		t.Error("the block that was given back is not used again")
	}
}
