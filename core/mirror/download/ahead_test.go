package download

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
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

// endsBadly has an error with its last bytes.
type endsBadly struct {
	left int
	err  error
}

func (r *endsBadly) Read(p []byte) (int, error) {
	n := min(len(p), r.left)
	if r.left -= n; r.left == 0 {
		return n, r.err
	}
	return n, nil
}

// An error that comes with the last byte of a range is not a failure of it: the range is here.
func TestAnErrorWithTheLastByteIsNoFailure(t *testing.T) {
	errReset := errors.New("connection reset by peer")
	for _, row := range []struct {
		name string
		body *endsBadly
		want error
	}{
		{"an end", &endsBadly{1000, io.EOF}, nil},
		{"an error", &endsBadly{1000, errReset}, nil},
		{"an error one byte before", &endsBadly{999, errReset}, errReset},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := growingTo(t, 1<<30, row.body)
			d.ahead.file = noFile{}
			want := span{100 << 20, 100<<20 + 1000}
			d.ask(t, want)
			sent := int64(row.body.left)
			if got, err := d.fetchAhead(t.Context(), want); got != sent || !errors.Is(err, row.want) {
				t.Errorf("got %d bytes, %v, want %d, %v", got, err, sent, row.want)
			}
		})
	}
}

// The connection of the growing end is given up for bytes in the scratch file only while ranges
// work, because one more range must be asked for then. Nothing is asked for behind the blob's end.
func TestAConnectionIsNotGivenUpWhenRangesFail(t *testing.T) {
	const size, end = 100 << 20, 40 << 20
	for _, row := range []struct {
		name  string
		have  span
		asked span // by the request in flight
		then  func(a *ahead)
		want  bool
	}{
		{"while ranges work", span{20 << 20, end}, span{}, func(*ahead) {}, true},
		{"after a failure", span{20 << 20, end}, span{}, func(a *ahead) { a.failures = 1 }, false},
		{"after all failures", span{20 << 20, end}, span{}, func(a *ahead) { a.off = true }, false},
		{"after a failure, for the end", span{20 << 20, size}, span{}, func(a *ahead) { a.failures = 1 }, true},
		{"after all failures, for the end", span{20 << 20, size}, span{}, func(a *ahead) { a.off = true }, true},
		{"for the little that is here", span{20 << 20, 20<<20 + 10}, span{}, func(*ahead) {}, false},
		{"for what is on its way", span{20 << 20, 20<<20 + 10}, span{20<<20 + 10, end}, func(*ahead) {}, true},
		{"for what does not come", span{20 << 20, 20<<20 + 10}, span{20<<20 + 10, end}, func(a *ahead) { a.late = true }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := growingTo(t, size, nil)
			d.ahead.have = spans{row.have}
			d.ahead.asked, d.ahead.running = row.asked, row.asked.size() > 0
			row.then(&d.ahead)
			if got := d.skips(20 << 20); got != row.want {
				t.Errorf("the connection is given up: %v, want %v", got, row.want)
			}
		})
	}
}

// A request that is overtaken ends, even one that brings nothing.
func TestAnOvertakenRequestEnds(t *testing.T) {
	d := growingTo(t, 1<<20, nil)
	d.ahead.asked, d.ahead.running = span{100, 200}, true
	ctx, stop := context.WithCancelCause(t.Context())
	d.ahead.stop = stop
	d.space()
	d.grow(199)
	if err := context.Cause(ctx); err != nil {
		t.Errorf("before its last byte: %v", err)
	}
	d.grow(1)
	if err := context.Cause(ctx); !errors.Is(err, errOvertaken) {
		t.Errorf("got %v, want that it was overtaken", err)
	}
}

// Readers come with each piece. What all of them wait for is not looked at for each.
func TestWishesAreLookedAtRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := growingTo(t, 1<<20, nil)
		d.begun = time.Now()
		began := time.Now()
		wish := func(f *Follower, want time.Duration) {
			t.Helper()
			d.mu.Lock()
			defer d.mu.Unlock()
			d.wish(f)
			if got := d.ahead.looked.Sub(began); got != want {
				t.Errorf("they were looked at %s after the start, want %s", got, want)
			}
		}
		readers := make([]*Follower, 100)
		for i := range readers {
			readers[i] = &Follower{ctx: t.Context(), d: d, offset: 1000, until: 2000}
			wish(readers[i], 0) // a new one is looked at
		}
		time.Sleep(tellWithin / 2)
		for _, f := range readers {
			wish(f, 0)
		}
		wish(&Follower{ctx: t.Context(), d: d, offset: 1000, until: 2000}, tellWithin/2)
		time.Sleep(tellWithin / 2)
		synctest.Wait()
		for _, f := range readers {
			wish(f, tellWithin) // because of the first of those in between
		}
		time.Sleep(tellWithin - 1)
		for _, f := range readers {
			wish(f, tellWithin)
		}
		time.Sleep(1)
		synctest.Wait()
		for _, f := range readers {
			wish(f, 2*tellWithin)
		}
	})
}

// slowFile takes its time to be closed, as a large one does.
type slowFile struct {
	noFile
	closed chan struct{}
}

func (f slowFile) Close() error {
	<-f.closed
	return nil
}

// The end of a download waits for no disk while readers wait for its lock.
func TestFilesAreClosedWithoutTheLock(t *testing.T) {
	for _, row := range []struct {
		name string
		file func(d *download, f slowFile)
		end  func(d *download)
	}{
		{"the scratch file, at the end", func(d *download, f slowFile) { d.ahead.file = f }, func(d *download) { d.end(broken, -1, errUnread) }},
		{"the scratch file, when it cannot be read", func(d *download, f slowFile) { d.ahead.file = f }, func(d *download) { d.unreadable(d.ahead.file, errUnreadable) }},
		{"the upload", func(d *download, f slowFile) { d.file = f }, func(d *download) { d.release() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := growingTo(t, 1<<20, nil)
				file := slowFile{closed: make(chan struct{})}
				row.file(d, file)
				ended := false
				go func() {
					row.end(d)
					ended = true
				}()
				synctest.Wait()
				if ended {
					t.Error("nothing was closed")
				}
				if !d.mu.TryLock() {
					t.Error("the lock is held while a file is closed")
				} else {
					d.mu.Unlock()
				}
				close(file.closed)
				synctest.Wait()
			})
		})
	}
}

// A scratch file that cannot be read is said once, and is not an error of its readers.
func TestAScratchFileThatCannotBeReadIsGivenUp(t *testing.T) {
	var log bytes.Buffer
	d := growingTo(t, 1<<20, nil)
	d.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	d.config.Budget.begin(1000)
	d.config.Budget.end(0)
	d.ahead.file, d.ahead.reserved = noFile{}, 1000
	d.space()
	d.grow(100)
	_ = d.growAhead(span{1000, 2000}) // no reader waits for it
	for range 3 {
		if _, err := d.ReadAt(make([]byte, 10), 1500); !errors.Is(err, errMoved) {
			t.Errorf("got %v, want that the reader looks again", err)
		}
	}
	if end := d.readable(1500); end != 1500 {
		t.Errorf("the bytes up to %d may be read, want none", end)
	}
	d.ask(t, span{2000, 3000})
	d.users++
	d.config.Budget.begin(1000)
	d.runAhead(t.Context(), span{2000, 3000})
	if text := log.String(); strings.Count(text, "level=") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, errUnreadable.Error()) {
		t.Errorf("got the log %q, want one warning", text)
	}
	if b := d.config.Budget; b.bytes != 0 || b.requests != 0 || !d.ahead.off {
		t.Errorf("%d bytes and %d requests are reserved, off %v", b.bytes, b.requests, d.ahead.off)
	}
}

// fullScratch is a disk without room.
type fullScratch struct{}

func (fullScratch) Scratch() (bucket.ScratchFile, error) { return nil, bucket.ErrNoSpace }

// A disk that fails is worth a warning, an upstream that sends no ranges is not.
func TestWhyNothingIsFetchedAheadIsLogged(t *testing.T) {
	for _, row := range []struct {
		name    string
		scratch bucket.Scratch
		level   string
	}{
		{"the disk is full", fullScratch{}, "WARN"},
		{"the upstream fails", oneFile{noFile{}}, "INFO"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log bytes.Buffer
			d := growingTo(t, 1<<30, &endsBadly{10, errors.New("no ranges here")})
			d.config.Log = slog.New(slog.NewTextHandler(&log, nil))
			d.config.Scratch = row.scratch
			want := span{100 << 20, 101 << 20}
			d.ask(t, want)
			d.users++
			d.config.Budget.begin(want.size())
			d.runAhead(t.Context(), want)
			if got := strings.Count(log.String(), "level="+row.level); got != 1 || strings.Count(log.String(), "level=") != 1 {
				t.Errorf("got the log %q, want one line of %s", log.String(), row.level)
			}
		})
	}
}

// oneFile lends one file.
type oneFile struct{ bucket.ScratchFile }

func (f oneFile) Scratch() (bucket.ScratchFile, error) { return f.ScratchFile, nil }

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
