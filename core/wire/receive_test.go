package wire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/budget"
)

// closed is a registry that admits no manifest, and counts later calls.
type closed struct {
	*memory
	puts int
}

func (c *closed) AdmitManifest(context.Context, string) error { return core.ErrDenied }

func (c *closed) PutManifest(context.Context, string, core.ManifestPut) (core.ManifestResult, error) {
	c.puts++
	return core.ManifestResult{}, core.ErrDenied
}

// untouched is a body that must not be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// putOf is a push of a manifest with this body, of which length bytes are announced.
func putOf(body io.Reader, length int64) *http.Request {
	r := httptest.NewRequest("PUT", "/v2/a/manifests/v1", body)
	r.ContentLength = length
	r.Header.Set("Content-Type", ocispec.MediaTypeImageIndex)
	return r
}

func TestNoManifestIsReadOfThoseWhoMayNotPush(t *testing.T) {
	for _, length := range []int64{1, 1000, core.MaxManifestSize, core.MaxManifestSize + 1, -1} {
		for _, mediaType := range []string{ocispec.MediaTypeImageIndex, "text/html", ""} {
			reg := &closed{memory: newMemory()}
			r := putOf(untouched{t}, length)
			r.Header.Set("Content-Type", mediaType)
			w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
			handler(reg, Options{}).ServeHTTP(w, r)
			if w.Code != 403 || reg.puts != 0 || len(w.deadlines) != 1 {
				t.Errorf("%d bytes of %q: got %d, %d puts and deadlines %v, want 403 soon", length, mediaType, w.Code, reg.puts, w.deadlines)
			}
		}
	}
}

// An answer does not wait for a body that will not be read; a body that was read to
// its end leaves the connection as it was.
func TestAnAnswerWaitsForNoBody(t *testing.T) {
	for _, row := range []struct {
		name, method, url, body string
		proto, status           int
		leave                   bool
	}{
		{"a push", "PUT", "/v2/a/manifests/v1", indexJSON, 1, 201, false},
		{"an invalid manifest", "PUT", "/v2/a/manifests/v1", "{", 1, 400, false},
		{"a chunk", "PATCH", "/v2/a/blobs/uploads/none", "x", 1, 404, true},
		{"a blob at once", "POST", "/v2/a/blobs/uploads/?digest=" + emptyDigest, "x", 1, 400, false},
		{"an upload", "POST", "/v2/a/blobs/uploads/", "", 1, 202, false},
		{"an upload with a body that it has no use for", "POST", "/v2/a/blobs/uploads/", "x", 1, 202, true},
		{"a read with a body", "GET", "/v2/", "x", 1, 200, true},
		{"a read without", "GET", "/v2/", "", 1, 200, false},
		{"a deletion with a body", "DELETE", "/v2/a/manifests/v1", "x", 1, 404, true},
		{"no endpoint, with a body", "PUT", "/v2/x", "x", 1, 404, true},
		{"HTTP/2 needs no deadline", "PATCH", "/v2/a/blobs/uploads/none", "x", 2, 404, false},
	} {
		for _, expect := range []string{"", "100-continue"} {
			r := httptest.NewRequest(row.method, row.url, strings.NewReader(row.body))
			r.Header.Set("Content-Type", ocispec.MediaTypeImageIndex)
			if expect != "" {
				r.Header.Set("Expect", expect)
			}
			r.ProtoMajor = row.proto
			w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
			handler(newMemory(), Options{}).ServeHTTP(w, r)
			left := len(w.deadlines) > 0 && !w.deadlines[len(w.deadlines)-1].IsZero()
			if closed := w.Header().Get("Connection") == "close"; w.Code != row.status || left != row.leave || closed != (row.leave && expect != "") {
				t.Errorf("%s, Expect %q: got status %d, deadlines %v and close %v, want %d", row.name, expect, w.Code, w.deadlines, closed, row.status)
			}
		}
	}
}

// Memory is allocated for the bytes that a client sends, not for those that it
// announces.
func TestAnAnnouncedManifestTakesNoMemory(t *testing.T) {
	const times = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		for _, length := range []int64{core.MaxManifestSize, -1} {
			w := httptest.NewRecorder()
			handler(newMemory(), Options{}).ServeHTTP(w, putOf(io.MultiReader(strings.NewReader("{"), broken{}), length))
			if w.Code != 400 {
				t.Fatalf("got %d: %s", w.Code, w.Body)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / (2 * times); each > 64<<10 {
		t.Errorf("a manifest of which a byte came took %d bytes of memory", each)
	}
}

// slowWriter has deadlines, as a connection does.
type slowWriter struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (w *slowWriter) SetReadDeadline(t time.Time) error {
	w.deadlines = append(w.deadlines, t)
	return nil
}

type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestAManifestHasATimeToArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			length int64
			time   time.Duration
		}{
			{int64(len(indexJSON)), manifestTime},
			{core.MaxManifestSize, manifestTime + core.MaxManifestSize/manifestRate*time.Second},
			{-1, manifestTime + core.MaxManifestSize/manifestRate*time.Second},
		} {
			w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
			handler(newMemory(), Options{}).ServeHTTP(w, putOf(io.MultiReader(strings.NewReader("{"), late{}), row.length))
			if w.Code != http.StatusRequestTimeout {
				t.Errorf("%d bytes that did not come: got %d, want 408", row.length, w.Code)
			}
			if len(w.deadlines) != 2 || !w.deadlines[0].Equal(time.Now().Add(row.time)) {
				t.Errorf("%d bytes: got deadlines %v, want one in %v", row.length, w.deadlines, row.time)
			}
		}
		w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
		handler(newMemory(), Options{}).ServeHTTP(w, putOf(strings.NewReader(indexJSON), int64(len(indexJSON))))
		if w.Code != 201 || len(w.deadlines) != 2 || !w.deadlines[1].IsZero() {
			t.Errorf("got %d and deadlines %v, want no deadline at the end", w.Code, w.deadlines)
		}
	})
}

// busy is a registry whose puts block until the test ends them.
type busy struct {
	*memory
	begun chan struct{}
	end   chan struct{}
}

func (b *busy) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	b.begun <- struct{}{}
	<-b.end
	return b.memory.PutManifest(ctx, repo, put)
}

// The bytes that a caller sends count until they are stored, and do not delay other
// callers.
func TestManifestsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &busy{newMemory(), make(chan struct{}), make(chan struct{})}
		size := int64(len(indexJSON))
		shared := budget.New(4*size, size)
		put := func(who string) <-chan *httptest.ResponseRecorder {
			done := make(chan *httptest.ResponseRecorder, 1)
			go func() {
				w := httptest.NewRecorder()
				handler(reg, Options{Manifests: shared, Caller: core.Access{Caller: who}}).ServeHTTP(w, putOf(strings.NewReader(indexJSON), size))
				done <- w
			}()
			return done
		}
		first := put("ada")
		<-reg.begun
		if w := <-put("ada"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("beyond a caller's part: got %d and Retry-After %q, want 429", w.Code, w.Header().Get("Retry-After"))
		}
		second := put("eve")
		<-reg.begun
		close(reg.end)
		for _, done := range []<-chan *httptest.ResponseRecorder{first, second} {
			if w := <-done; w.Code != 201 {
				t.Errorf("within the budget: got %d", w.Code)
			}
		}
		// Everything was given back, also by those that failed.
		for _, body := range []io.Reader{broken{}, strings.NewReader("{"), late{}} {
			handler(newMemory(), Options{Manifests: shared}).ServeHTTP(httptest.NewRecorder(), putOf(body, size))
		}
		release, err := shared.Acquire(t.Context(), "", 4*size)
		if err != nil {
			t.Fatalf("something is still held: %v", err)
		}
		release()
	})
}

// A body of any length arrives whole, also where it fills the buffer exactly.
func TestManifestsArriveWhole(t *testing.T) {
	for _, size := range []int{0, 1, firstPiece - 1, firstPiece, firstPiece + 1, 2 * firstPiece, 5*firstPiece + 3, core.MaxManifestSize} {
		want := string(counted(size))
		for _, exactly := range []bool{true, false} {
			most := int64(size)
			if !exactly {
				most = core.MaxManifestSize
			}
			got, err := readAll(strings.NewReader(want), most, exactly)
			if err != nil || string(got) != want {
				t.Errorf("%d bytes, announced %v: got %d bytes and %v", size, exactly, len(got), err)
			}
		}
	}
	if _, err := readAll(strings.NewReader("x"), 2, true); !errors.Is(err, errBodyInvalid) {
		t.Errorf("a body that ends early: got %v", err)
	}
}
