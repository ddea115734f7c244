package download

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Whichever piece is the last one, a byte of it that no reader has is kept back.
func TestTheLastPieceKeepsAByteBack(t *testing.T) {
	const size = block
	for _, row := range []struct {
		name   string
		ahead  []span // in the scratch file before
		grows  []int  // how far the growing end comes, piece by piece
		then   []span // in the scratch file after that
		sealed int64  // -1: something is missing
	}{
		{"in order", nil, []int{100, size}, nil, size - 1},
		{"something is missing", []span{{200, size}}, []int{100}, nil, -1},
		{"the growing end brings it", []span{{200, size}}, []int{100, 200}, nil, 199},
		{"the growing end brings more than it", []span{{200, size}}, []int{100, 300}, nil, 199},
		{"the growing end brings more than two", []span{{200, 300}, {400, size}}, []int{450}, nil, 399},
		{"a range brings it", []span{{300, size}}, []int{100}, []span{{100, 200}, {200, 300}}, 299},
		{"a range brings some that is here", []span{{300, size}}, []int{150}, []span{{100, 300}}, 299},
		{"the growing end comes further", []span{{100, size}}, []int{100, 200}, nil, 99},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := &download{state: growing, size: size, config: &Config{}}
			d.changed = sync.NewCond(&d.mu)
			d.ahead.file = noFile{}
			for _, s := range row.ahead {
				_ = d.growAhead(s) // no reader waits for it
			}
			for _, to := range row.grows {
				d.space()
				d.grow(to - int(d.held))
			}
			for _, s := range row.then {
				_ = d.growAhead(s)
			}
			got := int64(-1)
			if d.sealed {
				got = d.last
			}
			if got != row.sealed {
				t.Fatalf("byte %d is kept back, want %d", got, row.sealed)
			}
			if row.sealed < 0 {
				return
			}
			if end := d.readable(row.sealed); end > row.sealed {
				t.Errorf("bytes %d to %d may be read", row.sealed, end)
			}
			if end := d.readable(0); row.sealed > 0 && end > row.sealed {
				t.Errorf("the bytes up to %d may be read", end)
			}
			if row.sealed+1 < size && d.readable(row.sealed+1) == row.sealed+1 {
				t.Error("what is behind the last byte may not be read")
			}
		})
	}
}

// A reader that has the end of a blob is not kept until the rest is here.
func TestTheEndOfABlobEndsItsReader(t *testing.T) {
	const size = 2 * block
	d := &download{state: growing, size: size, config: &Config{}}
	d.changed = sync.NewCond(&d.mu)
	d.ahead.file = noFile{}
	_ = d.growAhead(span{block, size}) // no reader waits for it
	f := &Follower{ctx: t.Context(), d: d, offset: size, until: size}
	if _, err := f.readable(); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

// noFile is a scratch file that cannot be read, and keeps nothing.
type noFile struct{}

func (noFile) ReadAt([]byte, int64) (int, error)      { return 0, errUnreadable }
func (noFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (noFile) Close() error                           { return nil }

var errUnreadable = errors.New("input/output error")

// ranges is a Source and a Keeper with room. It answers each request for a range with a body.
type ranges struct {
	Source
	Keeper
	body io.Reader
}

func (r ranges) Range(context.Context, string, digest.Digest, int64, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(r.body), nil
}

func (ranges) Room(int64) bool { return true }

// growingTo is a download that has begun, whose ranges have this body.
func growingTo(t *testing.T, size int64, body io.Reader) *download {
	from := ranges{body: body}
	d := &download{
		state: growing, size: size, users: 1, ctx: t.Context(), all: &Downloads{},
		config: &Config{Source: from, Keeper: from, Budget: &Budget{}, Log: slog.New(slog.DiscardHandler)},
	}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// ask has a reader wait for a span that is being asked for.
func (d *download) ask(t *testing.T, s span) {
	f := &Follower{ctx: t.Context(), d: d, offset: s.start, until: s.end, wished: s}
	d.ahead.wishes = append(d.ahead.wishes, f)
	d.ahead.asked, d.ahead.running = s, true
}

func TestSpansStayInOrderAndApart(t *testing.T) {
	for _, row := range []struct {
		name string
		add  []span
		want spans
	}{
		{"apart", []span{{10, 20}, {0, 5}, {30, 40}}, spans{{0, 5}, {10, 20}, {30, 40}}},
		{"one behind the other", []span{{10, 20}, {20, 30}}, spans{{10, 30}}},
		{"one before the other", []span{{20, 30}, {10, 20}}, spans{{10, 30}}},
		{"between two", []span{{0, 10}, {20, 30}, {10, 20}}, spans{{0, 30}}},
		{"over all", []span{{5, 6}, {10, 20}, {0, 30}}, spans{{0, 30}}},
		{"within one", []span{{0, 30}, {5, 6}}, spans{{0, 30}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got spans
			for _, s := range row.add {
				got.add(s)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
	all := spans{{10, 20}, {30, 40}}
	for offset, want := range map[int64]span{0: {0, 10}, 20: {20, 30}, 25: {20, 30}, 40: {40, 50}} {
		if got := all.gap(offset, 50); got != want {
			t.Errorf("around %d nothing is in %v, want %v", offset, got, want)
		}
	}
}

// Fetching ahead is bounded in bytes and in requests, for all downloads together.
func TestTheBudgetIsBounded(t *testing.T) {
	var b Budget
	if got := b.begin(maxScratch - 10); got != maxScratch-10 {
		t.Errorf("granted %d", got)
	}
	if got := b.begin(100); got != 10 {
		t.Errorf("granted %d of the last 10", got)
	}
	if got := b.begin(1); got != 0 {
		t.Errorf("granted %d of nothing", got)
	}
	b.end(10) // it got nothing
	b.end(0)
	b.free(maxScratch - 10)
	for range maxAhead {
		if got := b.begin(1); got != 1 {
			t.Errorf("granted %d", got)
		}
	}
	if got := b.begin(1); got != 0 {
		t.Errorf("granted %d beyond the requests", got)
	}
	if got := b.begin(-1); got != 0 {
		t.Errorf("granted %d for a negative wish", got)
	}
}
