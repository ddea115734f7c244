package mirror_test

import (
	"bytes"
	"context"
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

// part opens a blob at start, for a reader that reads up to end.
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
