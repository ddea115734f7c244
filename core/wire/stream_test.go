package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// fileBlob is a file, as the store's blobs are.
type fileBlob struct {
	file *os.File
	desc core.Descriptor
}

func (b *fileBlob) Read(p []byte) (int, error)                { return b.file.Read(p) }
func (b *fileBlob) Seek(off int64, whence int) (int64, error) { return b.file.Seek(off, whence) }
func (b *fileBlob) Close() error                              { return b.file.Close() }
func (b *fileBlob) Descriptor() core.Descriptor               { return b.desc }
func (b *fileBlob) File() *os.File                            { return b.file }

var _ core.FileBlob = (*fileBlob)(nil)

// fromFiles makes the registry give its blobs as files of the given content.
func fromFiles(t *testing.T, m *memory, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m.open = func(desc core.Descriptor, _ []byte) core.Blob {
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
		}
		return &fileBlob{file, desc}
	}
}

// pacedWriter works like Caddy's idle timeouts: it reads a bounded piece at a time, each
// through a LimitedReader of its own.
type pacedWriter struct {
	http.ResponseWriter
	kernel bool // every piece could be sent by the kernel
}

func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *pacedWriter) ReadFrom(r io.Reader) (total int64, err error) {
	const piece = 1000
	_, w.kernel = r.(syscall.Conn)
	for {
		n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(io.LimitReader(r, piece))
		total += n
		if err != nil || n < piece {
			return total, err
		}
	}
}

func TestFiles(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		want        []byte
		kernel      bool
	}{
		{"whole", "", content, true},
		{"to the end", "bytes=500-", content[500:], true},
		{"the end", "bytes=-500", content[3596:], true},
		{"in the middle", "bytes=500-1499", content[500:1500], false},
		{"several, which is the whole", "bytes=0-1,3-4", content, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(t)
			fromFiles(t, m, content)
			for _, paced := range []bool{false, true} {
				var writer *pacedWriter
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if paced {
						writer = &pacedWriter{ResponseWriter: w}
						w = writer
					}
					handler(m, Options{}).ServeHTTP(w, r)
				}))
				req, _ := http.NewRequest("GET", server.URL+"/v2/a/b/blobs/"+string(contentDigest), nil)
				if tt.field != "" {
					req.Header.Set("Range", tt.field)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				server.Close()
				if err != nil || !bytes.Equal(got, tt.want) || resp.ContentLength != int64(len(tt.want)) {
					t.Errorf("paced %t: got %d bytes of %d, %v", paced, len(got), resp.ContentLength, err)
				}
				if paced && writer.kernel != tt.kernel {
					t.Errorf("for the kernel: got %t, want %t", writer.kernel, tt.kernel)
				}
			}
		})
	}
}

// A body that cannot be completed cuts the connection: the client must not mistake a part
// for the whole. The log line depends on whose fault it was.
func TestBrokenBodies(t *testing.T) {
	breaking := func(err error) func(*testing.T, *memory) {
		return func(_ *testing.T, m *memory) {
			m.open = func(desc core.Descriptor, data []byte) core.Blob {
				return &streamBlob{io.MultiReader(bytes.NewReader(data[:100]), failing{err}), desc}
			}
		}
	}
	writing := func(err error) func(*testing.T, *memory) {
		return func(_ *testing.T, m *memory) {
			m.open = func(desc core.Descriptor, data []byte) core.Blob {
				return &writingBlob{streamBlob{io.MultiReader(bytes.NewReader(data[:100]), failing{err}), desc}}
			}
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, *memory)
	}{
		{"a read error", breaking(errDisk)},
		{"a blob that ends early", breaking(io.EOF)},
		{"an upstream's reset, which is not the client's", breaking(syscall.ECONNRESET)},
		// A blob that writes itself is trusted no more than others.
		{"a read error of a blob that writes itself", writing(errDisk)},
		{"a blob that writes itself and ends early", writing(io.EOF)},
		{"a file that is too short", func(t *testing.T, m *memory) { fromFiles(t, m, content[:100]) }},
		{"unknown size, and a read error", func(_ *testing.T, m *memory) {
			m.open = func(desc core.Descriptor, data []byte) core.Blob {
				desc.Size = -1
				return &streamBlob{io.MultiReader(bytes.NewReader(data), failing{errDisk}), desc}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(t)
			tt.prepare(t, m)
			var log bytes.Buffer
			ended := make(chan Outcome, 1)
			server := httptest.NewServer(handler(m, Options{
				Log:     slog.New(slog.NewTextHandler(&log, nil)),
				Observe: func(o Outcome) { ended <- o },
			}))
			defer server.Close()
			resp, err := http.Get(server.URL + "/v2/a/b/blobs/" + string(contentDigest))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("the client sees a good end")
			}
			if o := <-ended; o.Err == nil || o.Status != 200 {
				t.Errorf("observed %+v, want status 200 and an error", o)
			}
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), string(contentDigest)) {
				t.Errorf("logged %q", &log)
			}
		})
	}
}

// writingBlob writes itself, and cannot be read.
type writingBlob struct{ streamBlob }

func (b *writingBlob) Read([]byte) (int, error) { return 0, errors.New("it was read") }

func (b *writingBlob) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{b.Reader})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A file that grew is not sent beyond the length that the header announced.
func TestFileLongerThanItsBlob(t *testing.T) {
	m := filled(t)
	fromFiles(t, m, append(bytes.Clone(content), "more"...))
	server := httptest.NewServer(handler(m, Options{}))
	defer server.Close()
	resp, err := http.Get(server.URL + "/v2/a/b/blobs/" + string(contentDigest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(content))
	}
}

// If the blob is not a file, its first byte goes out when it comes, not when a buffer is
// full.
func TestFirstByteIsNotHeldBack(t *testing.T) {
	for _, tt := range []struct {
		size   int64
		itself bool // it writes itself
	}{{-1, false}, {4096, false}, {-1, true}, {4096, true}} {
		size := tt.size
		m := filled(t)
		from, to := io.Pipe()
		m.open = func(desc core.Descriptor, _ []byte) core.Blob {
			desc.Size = size
			b := streamBlob{from, desc}
			if tt.itself {
				return &writingBlob{b}
			}
			return &b
		}
		server := httptest.NewServer(handler(m, Options{}))
		go to.Write(content[:1])
		resp, err := http.Get(server.URL + "/v2/a/b/blobs/" + string(contentDigest))
		if err != nil {
			t.Fatal(err)
		}
		// The rest is written only after the first byte has arrived.
		var one [1]byte
		if _, err := io.ReadFull(resp.Body, one[:]); err != nil || one[0] != content[0] {
			t.Errorf("size %d: got %q, %v", size, one, err)
		}
		go func() {
			to.Write(content[1:])
			to.Close()
		}()
		if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(rest, content[1:]) {
			t.Errorf("size %d: got %d bytes more, %v", size, len(rest), err)
		}
		resp.Body.Close()
		server.Close()
	}
}

// readyBlob is a stream that reports whether its first byte is available.
type readyBlob struct {
	streamBlob
	here bool
}

func (b *readyBlob) Ready() bool { return b.here }

// flushes counts the flushes of an answer, and how many of them came before its body.
type flushes struct {
	http.ResponseWriter
	all, early int
	wrote      bool
}

func (w *flushes) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

func (w *flushes) ReadFrom(r io.Reader) (int64, error) {
	w.wrote = true
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
}

func (w *flushes) FlushError() error {
	w.all++
	if !w.wrote {
		w.early++
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// The header goes out at once if the body is not available yet. If it is, the two share a
// packet, and a file is never flushed.
func TestHeaderDoesNotWaitForTheBody(t *testing.T) {
	for _, tt := range []struct {
		name       string
		open       func(desc core.Descriptor) core.Blob
		all, early int
	}{
		{"a file", nil, 0, 0},
		{"a stream whose first byte is available", func(desc core.Descriptor) core.Blob {
			return &readyBlob{streamBlob{struct{ io.Reader }{bytes.NewReader(content)}, desc}, true}
		}, 1, 0},
		{"a stream whose first byte is not available", func(desc core.Descriptor) core.Blob {
			return &readyBlob{streamBlob{struct{ io.Reader }{bytes.NewReader(content)}, desc}, false}
		}, 2, 1},
		{"a stream that does not say", func(desc core.Descriptor) core.Blob {
			return &streamBlob{struct{ io.Reader }{bytes.NewReader(content)}, desc}
		}, 2, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(t)
			if tt.open == nil {
				fromFiles(t, m, content)
			} else {
				m.open = func(desc core.Descriptor, _ []byte) core.Blob { return tt.open(desc) }
			}
			inner := handler(m, Options{})
			var w *flushes
			server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
				w = &flushes{ResponseWriter: to}
				inner.ServeHTTP(w, r)
			}))
			resp, err := http.Get(server.URL + "/v2/a/b/blobs/" + string(contentDigest))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			server.Close()
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if w.all != tt.all || w.early != tt.early {
				t.Errorf("it was flushed %d times, %d of them before the body, want %d and %d", w.all, w.early, tt.all, tt.early)
			}
		})
	}
}

func TestClientThatLeft(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := filled(t)
		m.fail["Manifest"] = context.Canceled
		cancel()
		var log bytes.Buffer
		var got Outcome
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/v2/a/b/manifests/v1", nil).WithContext(ctx)
		handler(m, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Observe: func(o Outcome) { got = o }}).ServeHTTP(w, r)
		if got.Status != 499 || w.Body.Len() != 0 || log.Len() != 0 {
			t.Errorf("got %+v, logged %q", got, &log)
		}
	})
	t.Run("during the body", func(t *testing.T) {
		for _, err := range []error{syscall.EPIPE, syscall.ECONNRESET, os.ErrDeadlineExceeded, net.ErrClosed} {
			var log bytes.Buffer
			aborted := abort(func() {
				w := &leavingWriter{httptest.NewRecorder(), err}
				r := httptest.NewRequest("GET", "/v2/a/b/blobs/"+string(contentDigest), nil)
				handler(filled(t), Options{Log: slog.New(slog.NewTextHandler(&log, nil))}).ServeHTTP(w, r)
			})
			if !aborted || log.Len() != 0 {
				t.Errorf("%v: aborted %t, logged %q", err, aborted, &log)
			}
		}
	})
}

// leavingWriter is a connection that breaks with err.
type leavingWriter struct {
	*httptest.ResponseRecorder
	err error
}

func (w *leavingWriter) Write([]byte) (int, error) { return 0, w.err }

func abort(f func()) (aborted bool) {
	defer func() {
		if v := recover(); v != nil {
			err, ok := v.(error)
			aborted = ok && errors.Is(err, http.ErrAbortHandler)
		}
	}()
	f()
	return false
}

// hasty is a client that closes the connection as soon as it has its last byte: the flush of
// that byte fails.
type hasty struct {
	*httptest.ResponseRecorder
	most int
}

func (w *hasty) FlushError() error {
	if w.Body.Len() >= w.most {
		return syscall.EPIPE
	}
	return nil
}

func TestACompleteBodyIsNotBroken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		itself bool
		most   int
		broken bool
	}{
		{"closed after the last byte", false, len(content), false},
		{"closed after the last byte of a blob that writes itself", true, len(content), false},
		{"closed before", false, 1, true},
		{"closed before it, of a blob that writes itself", true, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(t)
			m.open = func(desc core.Descriptor, data []byte) core.Blob {
				// In two pieces, the second of which is one byte.
				b := streamBlob{io.MultiReader(bytes.NewReader(data[:len(data)-1]), bytes.NewReader(data[len(data)-1:])), desc}
				if tt.itself {
					return &writingBlob{b}
				}
				return &b
			}
			var ended Outcome
			w := &hasty{httptest.NewRecorder(), tt.most}
			aborted := func() (aborted bool) {
				defer func() { aborted = recover() != nil }()
				handler(m, Options{Observe: func(o Outcome) { ended = o }}).ServeHTTP(w,
					httptest.NewRequest("GET", "/v2/a/b/blobs/"+string(contentDigest), nil))
				return false
			}()
			if aborted != tt.broken || (ended.Err != nil) != tt.broken {
				t.Errorf("aborted %t with %v, want broken %t", aborted, ended.Err, tt.broken)
			}
			if !tt.broken && ended.Sent != int64(len(content)) {
				t.Errorf("sent %d bytes, want %d", ended.Sent, len(content))
			}
			if ended.First.IsZero() {
				t.Error("no time of the first byte")
			}
		})
	}
}
