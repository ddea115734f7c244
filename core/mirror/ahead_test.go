package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// A lazy client reads the end of a layer first. It does not wait for all that comes before, and
// the download does not fetch again what was fetched for it.
func TestAFarRangeIsFetchedAhead(t *testing.T) {
	u := &far{size: 40 * mib, rest: make(chan struct{}), held: 64 << 10}
	f := startFar(t, u)
	if err := f.readPart(fetch, u.d, u.size-4*mib, u.size); err != nil {
		t.Fatal(err)
	}
	if err := f.readPart(fetch, u.d, 20*mib, 22*mib); err != nil {
		t.Fatal(err)
	}
	// Bytes that are already here cost no request.
	if err := f.readPart(fetch, u.d, 21*mib, 22*mib); err != nil {
		t.Fatal(err)
	}
	want := []string{"", fmt.Sprintf("bytes=%d-%d", u.size-4*mib, u.size-1), fmt.Sprintf("bytes=%d-%d", 20*mib, 22*mib-1)}
	if got, _ := u.saw(); !slices.Equal(got, want) {
		t.Errorf("the upstream was asked for %q, want %q", got, want)
	}
	close(u.rest)
	if err := f.readPart(fetch, u.d, 0, u.size); err != nil {
		t.Fatal(err)
	}
	got, sent := u.saw()
	if want = append(want, fmt.Sprintf("bytes=%d-", 22*mib)); !slices.Equal(got, want) {
		t.Errorf("the upstream was asked for %q, want %q", got, want)
	}
	if most := u.size + u.size/20 + 8*mib; sent > most {
		t.Errorf("the upstream sent %d bytes, want at most %d", sent, most)
	}
}

// One client that asks for one layer in many ranges at once, as containerd does, costs few
// requests, and hardly more bytes than the layer has.
func TestManyRangesOfALayerCostFewRequests(t *testing.T) {
	const parts = 32
	u := &far{size: 256 * mib, rest: make(chan struct{}), held: 64 << 10}
	opened := make(chan struct{})
	u.part = func(http.ResponseWriter, *http.Request, int64, int64) bool {
		<-opened
		return false
	}
	f := startFar(t, u)
	var readers, waiting sync.WaitGroup
	waiting.Add(parts)
	failed := make(chan error, parts)
	for i := range int64(parts) {
		readers.Go(func() {
			start, end := i*u.size/parts, (i+1)*u.size/parts
			b, err := f.part(fetch, u.d, start, end)
			waiting.Done()
			if err == nil {
				err = compare(b, start, end)
				b.Close()
			}
			failed <- err
		})
	}
	waiting.Wait()
	close(opened)
	close(u.rest)
	readers.Wait()
	for range parts {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	ranges, sent := u.saw()
	if len(ranges) > 4 {
		t.Errorf("the upstream was asked %d times: %q, want at most 4", len(ranges), ranges)
	}
	if most := u.size + u.size/20; sent > most {
		t.Errorf("the upstream sent %d bytes, want at most %d", sent, most)
	}
	t.Logf("%d requests, %.3f of the bytes: %q", len(ranges), float64(sent)/float64(u.size), ranges)
}

// A range that cannot be fetched ahead waits for the download, as if it were near.
func TestAFarRangeThatCannotBeFetchedAheadWaits(t *testing.T) {
	header := func(w http.ResponseWriter, start, end, size int64) {
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, size))
	}
	const size = 24 * mib
	for _, row := range []struct {
		name string
		part func(w http.ResponseWriter, r *http.Request, start, end int64) bool
		gets int // for the part
	}{
		{"the upstream knows no ranges", func(w http.ResponseWriter, _ *http.Request, _, _ int64) bool {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = io.Copy(w, io.NewSectionReader(pattern{}, 0, size))
			return true
		}, 1},
		{"the upstream sends another range", func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
			header(w, start-1, end-1, size)
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, 1},
		{"the upstream has another size now", func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
			header(w, start, end, size+1)
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, 1},
		{"the upstream compresses ranges", func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
			header(w, start, end, size)
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, 1},
		{"the upstream limits requests", func(w http.ResponseWriter, _ *http.Request, _, _ int64) bool {
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, 1},
		{"the upstream breaks off", func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
			header(w, start, end, size)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.CopyN(w, io.NewSectionReader(pattern{}, start, end-start), 1000)
			panic(http.ErrAbortHandler)
		}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := &far{size: size, rest: make(chan struct{}), held: 64 << 10, part: row.part}
			f := startFar(t, u)
			ended := make(chan error, 1)
			go func() { ended <- f.readPart(fetch, u.d, size-mib, size) }()
			for range 1 + row.gets {
				<-u.asked
			}
			close(u.rest)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if err := f.readPart(fetch, u.d, 0, size); err != nil {
				t.Error(err)
			}
			if got, _ := u.saw(); len(got) > 2+row.gets {
				t.Errorf("the upstream was asked for %q", got)
			}
		})
	}
}

// A range that goes wrong costs neither the download its connection, nor a reader its bytes.
func TestABadRangeHarmsNoDownload(t *testing.T) {
	const size, good, bad = 40 * mib, 12 * mib, 30 * mib // where two ranges of 2 MiB begin
	for _, row := range []struct {
		name string
		bad  func(u *far, w http.ResponseWriter, r *http.Request, start, end int64)
		gets int // in all, at most
	}{
		// It would refuse the download, too, if that gave its connection up for the good range.
		{"the upstream limits requests", func(u *far, w http.ResponseWriter, _ *http.Request, _, _ int64) {
			u.limited.Store(true)
			w.WriteHeader(http.StatusTooManyRequests)
		}, 3},
		{"the upstream sends it byte by byte", func(u *far, w http.ResponseWriter, r *http.Request, start, end int64) {
			w.Header().Set("Content-Length", fmt.Sprint(end-start))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, u.size))
			w.WriteHeader(http.StatusPartialContent)
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for at := start; at < end && r.Context().Err() == nil; at++ {
				u.send(w, at, at+1)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-pace.C:
				case <-r.Context().Done():
				}
			}
		}, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := &far{size: size, rest: make(chan struct{}), held: 64 << 10}
			u.part = func(w http.ResponseWriter, r *http.Request, start, end int64) bool {
				if start == bad {
					row.bad(u, w, r, start, end)
				}
				return start == bad
			}
			f := startFar(t, u)
			ctx, stop := context.WithTimeout(fetch, 30*time.Second) // instead of hours
			defer stop()
			if err := f.readPart(ctx, u.d, good, good+2*mib); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- f.readPart(ctx, u.d, bad, bad+2*mib) }()
			for !strings.HasPrefix(<-u.asked, fmt.Sprintf("bytes=%d-", bad)) {
			}
			close(u.rest)
			if err := f.readPart(ctx, u.d, 0, size); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if got, _ := u.saw(); len(got) > row.gets {
				t.Errorf("the upstream was asked for %q, want at most %d requests", got, row.gets)
			}
		})
	}
}

// A client that leaves takes its range along, and the next one gets his.
func TestAFarRangeEndsWithItsReader(t *testing.T) {
	left := make(chan struct{})
	u := &far{size: 32 * mib, rest: make(chan struct{}), held: 64 << 10}
	defer close(u.rest)
	u.part = func(w http.ResponseWriter, r *http.Request, start, end int64) bool {
		if start < 24*mib {
			return false
		}
		<-r.Context().Done()
		close(left)
		return true
	}
	f := startFar(t, u)
	ctx, leave := context.WithCancel(fetch)
	ended := make(chan error, 2)
	go func() { ended <- f.readPart(ctx, u.d, 24*mib, 32*mib) }()
	<-u.asked
	<-u.asked
	go func() { ended <- f.readPart(fetch, u.d, 16*mib, 17*mib) }()
	leave()
	<-left
	errs := []error{<-ended, <-ended}
	if !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, context.Canceled) }) || !slices.Contains(errs, nil) {
		t.Errorf("got %v, want that one was cancelled and the other has its bytes", errs)
	}
}

// Bytes may go out in any order, but for the last one that is missing: that waits for the digest.
func TestTheLastMissingByteWaitsForTheDigest(t *testing.T) {
	u := &far{size: 32 * mib, d: digest.FromString("something else"), rest: make(chan struct{}), held: 64 << 10}
	f := startFar(t, u)
	const start = 16 * mib
	if err := f.readPart(fetch, u.d, start, u.size); err != nil { // with the last byte
		t.Fatal(err)
	}
	b, err := f.Blob(fetch, repo, u.d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	close(u.rest)
	n, err := io.Copy(io.Discard, b)
	if !errors.Is(err, core.ErrUpstream) || n >= start {
		t.Errorf("got %d bytes, %v, want fewer than %d and a failure", n, err, start)
	}
}

// An upstream whose ranges are of something else spoils a download once: then the blob is
// downloaded in order.
func TestWrongRangesAreNotAskedForAgain(t *testing.T) {
	u := &far{size: 24 * mib, rest: make(chan struct{}), held: 64 << 10}
	u.part = func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, u.size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, end-start))
		return true
	}
	f := startFar(t, u)
	b, err := f.part(fetch, u.d, u.size-2*mib, u.size)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(b, make([]byte, 2*mib))
	b.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err = f.Blob(fetch, repo, u.d)
	if err != nil {
		t.Fatal(err)
	}
	close(u.rest)
	if _, err = io.Copy(io.Discard, b); !errors.Is(err, core.ErrUpstream) {
		t.Errorf("got %v, want that the digest is wrong", err)
	}
	b.Close()
	if err := f.readPart(fetch, u.d, u.size-2*mib, u.size); err != nil {
		t.Error(err)
	}
	if got, _ := u.saw(); len(got) != 3 || got[2] != "" {
		t.Errorf("the upstream was asked for %q, want one range", got)
	}
}
