package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

const mib = 1 << 20

// noise is a MiB, of which patterns are made.
var noise = func() []byte {
	b := make([]byte, mib)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// pattern is the content of a blob, which takes no memory: each MiB begins elsewhere in noise.
type pattern struct{}

func (pattern) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) {
		in := (at%mib + at/mib*4099) % mib
		// Up to the end of the noise, or of this MiB of the blob.
		most := min(mib-in, mib-at%mib)
		m := copy(p[n:], noise[in:in+most])
		n += m
		at += int64(m)
	}
	return n, nil
}

// digestOf is that of a pattern of so many bytes.
func digestOf(size int64) digest.Digest {
	d, err := digest.FromReader(io.NewSectionReader(pattern{}, 0, size))
	if err != nil {
		panic(err)
	}
	return d
}

// far is an upstream on a loopback address that has one blob and counts how often and how much it
// is asked for.
type far struct {
	size int64
	d    digest.Digest
	// part answers a bounded range instead, unless it is nil or returns false.
	part func(w http.ResponseWriter, r *http.Request, start, end int64) bool
	// resumed is called between the header and the bytes of an answer with the rest of the blob,
	// unless it is nil.
	resumed func(r *http.Request)
	limited atomic.Bool // every request is answered 429
	// rest is closed when the first request for all of the blob may go on behind held bytes.
	rest chan struct{}
	held int64

	mu     sync.Mutex // guards what follows
	ranges []string   // the Range of each request; empty: all
	sent   int64
	asked  chan string // has each range, too
}

func (u *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		return
	}
	field := r.Header.Get("Range")
	start, end, status := int64(0), u.size, http.StatusOK
	if field != "" {
		status = http.StatusPartialContent
		if n, _ := fmt.Sscanf(field, "bytes=%d-%d", &start, &end); n == 2 {
			end++
		} else {
			end = u.size
		}
	}
	u.mu.Lock()
	u.ranges = append(u.ranges, field)
	u.mu.Unlock()
	u.asked <- field
	if u.limited.Load() {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	bounded := field != "" && !strings.HasSuffix(field, "-")
	if bounded && u.part != nil && u.part(w, r, start, end) {
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(end-start))
	if field != "" {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, u.size))
	}
	w.WriteHeader(status)
	if field != "" && !bounded && u.resumed != nil {
		_ = http.NewResponseController(w).Flush()
		u.resumed(r)
	}
	if field == "" && u.rest != nil {
		u.send(w, 0, u.held)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-u.rest:
		case <-r.Context().Done():
			return
		}
		start = u.held
	}
	u.send(w, start, end)
}

func (u *far) send(w io.Writer, start, end int64) {
	n, _ := io.Copy(w, io.NewSectionReader(pattern{}, start, end-start)) // the client may leave
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent += n
}

// saw returns what was asked for until now.
func (u *far) saw() (ranges []string, sent int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.ranges), u.sent
}

// startFar is a mirror of u, and of the others after it.
func startFar(t *testing.T, u *far, others ...*far) *fixture {
	t.Helper()
	f := &fixture{
		network: upstreamtest.NewNetwork(), path: t.TempDir(), log: &lines{},
		config: upstream.Config{Name: "docker.io"},
	}
	for _, u := range append([]*far{u}, others...) {
		if u.d == "" {
			u.d = digestOf(u.size)
		}
		u.asked = make(chan string, 1000)
		server := httptest.NewUnstartedServer(u)
		// Bytes in flight on an abandoned connection count as sent. Elsewhere they are few.
		server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			if err := c.(*net.TCPConn).SetWriteBuffer(256 << 10); err != nil {
				t.Error(err)
			}
			return ctx
		}
		server.Start()
		t.Cleanup(server.Close)
		f.config.URLs = append(f.config.URLs, server.URL)
	}
	f.open(t, mirror.Settings{})
	t.Cleanup(func() { f.stop() })
	return f
}

// part opens a blob at start, for a reader who reads up to end.
func (f *fixture) part(ctx context.Context, d digest.Digest, start, end int64) (core.Blob, error) {
	b, err := f.Blob(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	if _, err := b.(io.Seeker).Seek(start, io.SeekStart); err != nil {
		b.Close()
		return nil, err
	}
	if bounded, ok := b.(interface{ Until(end int64) }); ok { // one that is on its way
		bounded.Until(end)
	}
	return b, nil
}

// compare reads a part of a pattern.
func compare(r io.Reader, start, end int64) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := start; at < end; {
		n, err := io.ReadFull(r, got[:min(int64(len(got)), end-at)])
		_, _ = pattern{}.ReadAt(want[:n], at)
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("other bytes came behind %d", at)
		}
		if err != nil {
			return fmt.Errorf("behind %d: %w", at+int64(n), err)
		}
		at += int64(n)
	}
	return nil
}

func (f *fixture) readPart(ctx context.Context, d digest.Digest, start, end int64) error {
	b, err := f.part(ctx, d, start, end)
	if err != nil {
		return err
	}
	defer b.Close()
	return compare(b, start, end)
}

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
