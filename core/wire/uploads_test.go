package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

func TestStartUpload(t *testing.T) {
	wide := digest.SHA512.FromBytes(content)
	mount := "/v2/n/blobs/uploads/?mount=" + string(contentDigest)
	blobAt := "/v2/n/blobs/" + string(contentDigest)
	begun := map[string]string{"Location": "/v2/n/blobs/uploads/upload-1", "Range": "0-0", "Docker-Upload-Uuid": "upload-1"}
	failing := func(method string, err error) func(*memory) {
		return func(m *memory) { m.fail[method] = err }
	}
	runRows(t, []exchangeRow{
		{name: "empty", method: "POST", url: "/v2/n/blobs/uploads/", status: 202, want: begun},
		{name: "for sha512", method: "POST", url: "/v2/n/blobs/uploads/?digest-algorithm=sha512", status: 202, want: begun},
		{name: "with ns", method: "POST", url: "/v2/n/blobs/uploads/?ns=r.example", status: 202, want: map[string]string{"Location": "/v2/n/blobs/uploads/upload-1?ns=r.example", "Oci-Namespace": "r.example"}},
		{name: "denied", method: "POST", url: "/v2/n/blobs/uploads/", prepare: failing("NewUpload", core.ErrDenied), status: 403, code: "DENIED"},
		{name: "to a full disk", method: "POST", url: "/v2/n/blobs/uploads/", prepare: failing("NewUpload", core.ErrNoSpace), status: 507, code: "UNAVAILABLE"},

		{name: "whole", method: "POST", url: "/v2/n/blobs/uploads/?digest=" + string(contentDigest), body: string(content), status: 201, want: map[string]string{"Location": blobAt, "Docker-Content-Digest": string(contentDigest)}},
		{name: "whole, by sha512", method: "POST", url: "/v2/n/blobs/uploads/?digest=" + string(wide), body: string(content), status: 201, want: map[string]string{"Docker-Content-Digest": string(wide)}},
		{name: "whole, of another digest", method: "POST", url: "/v2/n/blobs/uploads/?digest=" + emptyDigest, body: string(content), status: 400, code: "DIGEST_INVALID"},
		{name: "whole, to a full disk", method: "POST", url: "/v2/n/blobs/uploads/?digest=" + string(contentDigest), body: string(content), prepare: failing("Append", core.ErrNoSpace), status: 507, code: "UNAVAILABLE"},

		{name: "mounted", method: "POST", url: mount + "&from=a/b", status: 201, want: map[string]string{"Location": blobAt, "Docker-Content-Digest": string(contentDigest)}},
		{name: "mounted, with ns", method: "POST", url: mount + "&from=a/b&ns=r.example", status: 201, want: map[string]string{"Location": blobAt + "?ns=r.example"}},
		{name: "that could not be a mount", method: "POST", url: mount + "&from=x", status: 202, want: begun},
		{name: "that could not be a mount from anywhere", method: "POST", url: mount, status: 202, want: begun},
		{name: "of a mount that is denied", method: "POST", url: mount + "&from=a/b", prepare: failing("Mount", core.ErrDenied), status: 202, want: begun},
		{name: "of a mount whose source is hidden", method: "POST", url: mount + "&from=a/b", prepare: failing("Mount", core.ErrUnauthorized), status: 202, want: begun},
		{name: "of a mount that failed for our own reason", method: "POST", url: mount + "&from=a/b", prepare: failing("Mount", errDisk), status: 500, code: "UNKNOWN"},
		{name: "of a mount, denied here too", method: "POST", url: mount, prepare: func(m *memory) {
			m.fail["Mount"], m.fail["NewUpload"] = core.ErrUnauthorized, core.ErrUnauthorized
		}, status: 403, code: "DENIED"},
	})
}

func TestUploadArguments(t *testing.T) {
	for _, tt := range []struct{ name, query, want string }{
		{"a plain upload is sha256", "", "upload sha256 to n"},
		{"an algorithm is taken", "?digest-algorithm=sha512", "upload sha512 to n"},
		{"a failed mount keeps its algorithm", "?from=x&mount=" + string(wideDigest), "upload sha512 to n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(t)
			handler(m, Options{}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v2/n/blobs/uploads/"+tt.query, nil))
			if m.last != tt.want {
				t.Errorf("got %q, want %q", m.last, tt.want)
			}
		})
	}
}

func TestUpload(t *testing.T) {
	const at = "/v2/n/blobs/uploads/u"
	half := len(content) / 2
	held := func(m *memory) {
		u := &memoryUpload{m: m, repo: "n", id: "u"}
		u.data.Write(content[:half])
		m.uploads["u"] = u
	}
	also := func(method string, err error) func(*memory) {
		return func(m *memory) { held(m); m.fail[method] = err }
	}
	closing := at + "?digest=" + string(contentDigest)
	rest := string(content[half:])
	header := func(field string) http.Header { return http.Header{"Content-Range": {field}} }
	stands := map[string]string{"Location": at, "Range": "0-2047", "Docker-Upload-Uuid": "u"}
	grown := map[string]string{"Location": at, "Range": "0-4095"}
	created := map[string]string{"Location": "/v2/n/blobs/" + string(contentDigest), "Docker-Content-Digest": string(contentDigest)}
	runRows(t, []exchangeRow{
		{name: "status", method: "GET", url: at, prepare: held, status: 204, want: stands},
		{name: "status with ns", method: "GET", url: at + "?ns=x", prepare: held, status: 204, want: map[string]string{"Location": at + "?ns=x"}},
		{name: "status of an unknown one", method: "GET", url: at, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
		{name: "status of another repository's", method: "GET", url: "/v2/x/blobs/uploads/u", prepare: held, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
		{name: "cancelled", method: "DELETE", url: at, prepare: held, status: 204},
		{name: "cancelled and unknown", method: "DELETE", url: at, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},

		{name: "chunk without a range", method: "PATCH", url: at, prepare: held, body: rest, status: 202, want: grown},
		{name: "chunk in order", method: "PATCH", url: at, prepare: held, header: header("2048-4095"), body: rest, status: 202, want: grown},
		{name: "empty chunk", method: "PATCH", url: at, prepare: held, status: 202, want: stands},
		{name: "chunk too early", method: "PATCH", url: at, prepare: held, header: header("0-2047"), body: rest, status: 416, code: "BLOB_UPLOAD_INVALID", want: stands},
		{name: "chunk too late", method: "PATCH", url: at, prepare: held, header: header("4096-6143"), body: rest, status: 416, code: "BLOB_UPLOAD_INVALID", want: stands},
		{name: "chunk beside another writer's", method: "PATCH", url: at, prepare: also("Append", core.ErrRangeInvalid), body: rest, status: 416, code: "BLOB_UPLOAD_INVALID", want: stands},
		{name: "chunk whose range is longer than it", method: "PATCH", url: at, prepare: held, header: header("2048-4096"), body: rest, status: 400, code: "SIZE_INVALID", want: map[string]string{"Location": ""}},
		{name: "chunk with another kind of range", method: "PATCH", url: at, prepare: held, header: header("bytes 2048-4095/*"), body: rest, status: 400, code: "BLOB_UPLOAD_INVALID"},
		{name: "chunk for a full disk", method: "PATCH", url: at, prepare: also("Append", core.ErrNoSpace), body: rest, status: 507, code: "UNAVAILABLE"},
		{name: "chunk for an unknown upload", method: "PATCH", url: at, body: rest, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},

		{name: "ended with the last chunk", method: "PUT", url: closing, prepare: held, body: rest, status: 201, want: created},
		{name: "ended with the last chunk and its range", method: "PUT", url: closing, prepare: held, header: header("2048-4095"), body: rest, status: 201, want: created},
		{name: "ended out of order", method: "PUT", url: closing, prepare: held, header: header("0-2047"), body: rest, status: 416, code: "BLOB_UPLOAD_INVALID", want: stands},
		{name: "ended too early", method: "PUT", url: closing, prepare: held, status: 400, code: "DIGEST_INVALID"},
		{name: "ended with an empty range", method: "PUT", url: at + "?digest=" + string(digest.FromBytes(content[:half])), prepare: held, header: header("2048-2047"), status: 201},
		{name: "ended without a digest", method: "PUT", url: at, prepare: held, body: rest, status: 400, code: "DIGEST_INVALID"},
		{name: "ended on a failing disk", method: "PUT", url: closing, prepare: also("Commit", errDisk), body: rest, status: 500, code: "UNKNOWN"},
		{name: "ended and unknown", method: "PUT", url: closing, body: rest, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	})
}

// A chunked body has no Content-Length, so only its Content-Range says how long it is.
func TestStreamedChunk(t *testing.T) {
	for _, tt := range []struct {
		name, contentRange string
		body               io.Reader
		status             int
		held               int64
	}{
		{"without a range", "", bytes.NewReader(content), 202, 4096},
		{"as long as its range", "0-4095", bytes.NewReader(content), 202, 4096},
		{"shorter than its range", "0-4096", bytes.NewReader(content), 400, 4096},
		{"longer than its range", "0-99", bytes.NewReader(content), 400, 100},
		{"larger than the server allows", "", http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(content)), 50), 413, 50},
		{"that breaks off", "", io.MultiReader(bytes.NewReader(content[:10]), broken{}), 400, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			u := &memoryUpload{m: m, repo: "n", id: "u"}
			m.uploads["u"] = u
			r := httptest.NewRequest("PATCH", "/v2/n/blobs/uploads/u", tt.body)
			r.ContentLength = -1
			if tt.contentRange != "" {
				r.Header.Set("Content-Range", tt.contentRange)
			}
			w := httptest.NewRecorder()
			handler(m, Options{}).ServeHTTP(w, r)
			if w.Code != tt.status || u.Offset() != tt.held {
				t.Errorf("got %d with %d bytes held, want %d with %d: %s", w.Code, u.Offset(), tt.status, tt.held, w.Body)
			}
		})
	}
}

func TestWholeUploadThatFailsIsDropped(t *testing.T) {
	m := newMemory()
	w := httptest.NewRecorder()
	handler(m, Options{}).ServeHTTP(w, httptest.NewRequest("POST", "/v2/n/blobs/uploads/?digest="+string(contentDigest), broken{}))
	if w.Code != 400 || len(m.uploads) != 0 || len(m.blobs) != 0 {
		t.Errorf("got %d, %d uploads and %d blobs, want 400 and nothing: %s", w.Code, len(m.uploads), len(m.blobs), w.Body)
	}
}

// A client that is cut off must not have pushed a blob, even if what arrived happens to
// have the digest that it named; and it goes on where it was.
func TestShortBodyIsNotCommitted(t *testing.T) {
	m := newMemory()
	m.uploads["u"] = &memoryUpload{m: m, repo: "n", id: "u"}
	ended := make(chan Outcome, 1)
	server := httptest.NewServer(handler(m, Options{Observe: func(o Outcome) { ended <- o }}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /v2/n/blobs/uploads/u?digest=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n%s", contentDigest, content)
	conn.Close()
	if o := <-ended; o.Status == http.StatusCreated || o.Err == nil {
		t.Errorf("got %+v, want an error", o)
	}
	if len(m.blobs) != 0 || m.uploads["u"].Offset() != int64(len(content)) {
		t.Errorf("%d blobs, %d bytes held, want none and %d", len(m.blobs), m.uploads["u"].Offset(), len(content))
	}
}

// A client that is refused while it still writes gets the answer, and is not left
// hanging: the connection ends.
func TestRefusedBodyDoesNotHang(t *testing.T) {
	server := httptest.NewServer(handler(newMemory(), Options{}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	written := make(chan int64, 1)
	go func() {
		fmt.Fprint(conn, "PATCH /v2/n/blobs/uploads/u HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
		n, _ := io.Copy(conn, io.LimitReader(spaces{}, 1<<30))
		written <- n
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 404 || !resp.Close || !strings.Contains(string(body), "BLOB_UPLOAD_UNKNOWN") {
		t.Errorf("got %d, close %t: %s", resp.StatusCode, resp.Close, body)
	}
	if n := <-written; n >= 1<<28 {
		t.Errorf("%d bytes were taken from a client that was refused", n)
	}
}
