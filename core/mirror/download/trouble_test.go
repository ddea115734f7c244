package download

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/eblume/caddy-registry/core/bucket"
)

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
	fine := func(*ahead) {}
	failed := func(a *ahead) { a.failures = 1 }
	off := func(a *ahead) { a.off = true }
	late := func(a *ahead) { a.late = true }
	for _, row := range []struct {
		name  string
		have  span
		asked span // by the request in flight
		then  func(a *ahead)
		want  bool
	}{
		{"while ranges work", span{20 << 20, end}, span{}, fine, true},
		{"after a failure", span{20 << 20, end}, span{}, failed, false},
		{"after all failures", span{20 << 20, end}, span{}, off, false},
		{"after a failure, for the end", span{20 << 20, size}, span{}, failed, true},
		{"after all failures, for the end", span{20 << 20, size}, span{}, off, true},
		{"for the little that is here", span{20 << 20, 20<<20 + 10}, span{}, fine, false},
		{"for what is on its way", span{20 << 20, 20<<20 + 10}, span{20<<20 + 10, end}, fine, true},
		{"for what does not come", span{20 << 20, 20<<20 + 10}, span{20<<20 + 10, end}, late, false},
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
		{"the scratch file, at the end", func(d *download, f slowFile) { d.ahead.file = f }, func(d *download) {
			d.end(broken, -1, errUnread)
		}},
		{"the scratch file, when it cannot be read", func(d *download, f slowFile) { d.ahead.file = f }, func(d *download) {
			d.unreadable(d.ahead.file, errUnreadable)
		}},
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
	ctx, stop := context.WithCancelCause(t.Context())
	d.ahead.running, d.ahead.stop = true, stop
	for range 3 {
		if _, err := d.ReadAt(make([]byte, 10), 1500); !errors.Is(err, errMoved) {
			t.Errorf("got %v, want that the reader looks again", err)
		}
	}
	if end := d.readable(1500); end != 1500 {
		t.Errorf("the bytes up to %d may be read, want none", end)
	}
	if err := context.Cause(ctx); !errors.Is(err, errMoved) {
		t.Errorf("the request in flight has ended with %v, want that the file is gone", err)
	}
	d.ask(t, span{2000, 3000})
	d.users++
	d.config.Budget.begin(1000)
	d.runAhead(t.Context(), span{2000, 3000})
	text := log.String()
	if strings.Count(text, "level=") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, errUnreadable.Error()) {
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
