package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// handler uses wire as a connection layer does, in the shortest form.
func handler(reg core.Registry, opts Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := Parse(r.Method, r.URL)
		if err != nil {
			Fail(w, r, req, err, opts)
			return
		}
		Serve(w, r, req, reg, opts)
	})
}

const (
	indexJSON   = `{"schemaVersion":2,"manifests":[]}`
	subjectJSON = `{"schemaVersion":2,"manifests":[],"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}}`
	emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var (
	indexDigest   = digest.FromString(indexJSON)
	content       = counted(4096)
	contentDigest = digest.FromBytes(content)
)

// counted is n bytes of which every four are different.
func counted(n int) []byte {
	data := make([]byte, 0, n+4)
	for i := uint32(0); len(data) < n; i++ {
		data = binary.BigEndian.AppendUint32(data, i)
	}
	return data[:n]
}

// filled is a registry with the repository a/b: one index with the tags v1 and v2, and
// one blob.
func filled(t testing.TB) *memory {
	t.Helper()
	m := newMemory()
	if _, err := m.PutManifest(t.Context(), "a/b", core.ManifestPut{
		MediaType: ocispec.MediaTypeImageIndex, Bytes: []byte(indexJSON), Tags: []string{"v1", "v2"},
	}); err != nil {
		t.Fatal(err)
	}
	m.putBlob("a/b", content)
	m.repos = []string{"a/b", "c", "d"}
	return m
}

// exchangeRow is a request and the expected answer. A header that is wanted empty must be
// absent.
type exchangeRow struct {
	name, method, url string
	header            http.Header
	body              string
	prepare           func(*memory)
	opts              Options
	status            int
	want              map[string]string
	wantBody          string // exactly, unless it is empty
	code              string // of the OCI error
}

func (row *exchangeRow) run(t *testing.T) {
	t.Helper()
	m := filled(t)
	if row.prepare != nil {
		row.prepare(m)
	}
	r := httptest.NewRequest(row.method, row.url, strings.NewReader(row.body))
	for key, values := range row.header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	var outcomes []Outcome
	row.opts.Observe = func(o Outcome) { outcomes = append(outcomes, o) }
	handler(m, row.opts).ServeHTTP(w, r)

	if w.Code != row.status {
		t.Errorf("got status %d, want %d: %s", w.Code, row.status, w.Body)
	}
	if got := w.Header().Get("Docker-Distribution-API-Version"); got != "registry/2.0" {
		t.Errorf("got API version %q", got)
	}
	checkProtected(t, w.Header())
	for key, want := range row.want {
		if got := strings.Join(w.Header().Values(key), "|"); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	if row.wantBody != "" && strings.TrimSpace(w.Body.String()) != row.wantBody {
		t.Errorf("got body %.200q, want %.200q", w.Body, row.wantBody)
	}
	if length := w.Header().Get("Content-Length"); row.method != http.MethodHead && length != "" && length != fmt.Sprint(w.Body.Len()) {
		t.Errorf("Content-Length is %s, and there are %d bytes", length, w.Body.Len())
	}
	if row.method == http.MethodHead && w.Body.Len() > 0 {
		t.Errorf("HEAD has a body: %s", w.Body)
	}
	if row.code != "" {
		checkError(t, row, w)
	}
	if len(outcomes) != 1 || outcomes[0].Status != w.Code || outcomes[0].Sent != int64(w.Body.Len()) || (outcomes[0].Err != nil) != (w.Code >= 400) {
		t.Errorf("observed %+v", outcomes)
	}
}

// checkProtected wants the fields that keep a browser from running an answer, once.
func checkProtected(t *testing.T, header http.Header) {
	t.Helper()
	for key, want := range map[string]string{
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'",
	} {
		if got := header.Values(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q once", key, got, want)
		}
	}
}

func checkError(t *testing.T, row *exchangeRow, w *httptest.ResponseRecorder) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q", got)
	}
	if row.method == http.MethodHead {
		return
	}
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if len(doc.Errors) != 1 || doc.Errors[0].Code != row.code || len(doc.Errors[0].Message) < 10 {
		t.Errorf("got %+v, want one error of code %s with a sentence", doc.Errors, row.code)
	}
}

func runRows(t *testing.T, rows []exchangeRow) {
	for _, row := range rows {
		t.Run(row.name, row.run)
	}
}

func TestPing(t *testing.T) {
	runRows(t, []exchangeRow{
		{name: "with a slash", method: "GET", url: "/v2/", status: 200, wantBody: "{}", want: map[string]string{"Content-Type": "application/json", "Content-Length": "2"}},
		{name: "without one", method: "GET", url: "/v2", status: 200},
		{name: "HEAD", method: "HEAD", url: "/v2/", status: 200, want: map[string]string{"Content-Length": "2"}},
	})
}

func TestManifest(t *testing.T) {
	byDigest := "/v2/a/b/manifests/" + string(indexDigest)
	all := map[string]string{
		"Content-Type":          ocispec.MediaTypeImageIndex,
		"Docker-Content-Digest": string(indexDigest),
		"Etag":                  `"` + string(indexDigest) + `"`,
	}
	with := func(more map[string]string) map[string]string {
		fields := map[string]string{}
		for _, from := range []map[string]string{all, more} {
			for key, value := range from {
				fields[key] = value
			}
		}
		return fields
	}
	private := "private, max-age=31536000, immutable"
	runRows(t, []exchangeRow{
		{name: "by tag", method: "GET", url: "/v2/a/b/manifests/v1", status: 200, wantBody: indexJSON, want: with(map[string]string{"Cache-Control": "private, no-cache"})},
		{name: "by digest", method: "GET", url: byDigest, status: 200, wantBody: indexJSON, want: with(map[string]string{"Cache-Control": private})},
		{name: "HEAD by tag", method: "HEAD", url: "/v2/a/b/manifests/v1", status: 200, want: with(map[string]string{"Content-Length": "34"})},
		{name: "HEAD by digest", method: "HEAD", url: byDigest, status: 200, want: with(map[string]string{"Cache-Control": private})},
		{name: "by tag for everybody", method: "GET", url: "/v2/a/b/manifests/v1", opts: Options{Public: true}, status: 200, want: with(map[string]string{"Cache-Control": "no-cache"})},
		{name: "by digest for everybody", method: "GET", url: byDigest, opts: Options{Public: true}, status: 200, want: with(map[string]string{"Cache-Control": "public, max-age=31536000, immutable"})},
		{name: "with ns", method: "GET", url: byDigest + "?ns=docker.io", status: 200, want: with(map[string]string{"Oci-Namespace": "docker.io"})},
		{name: "that the client has", method: "GET", url: "/v2/a/b/manifests/v1", header: http.Header{"If-None-Match": {`"x", W/"` + string(indexDigest) + `"`}}, status: 304, want: map[string]string{"Etag": all["Etag"], "Docker-Content-Digest": string(indexDigest)}},
		{name: "HEAD of a blob that the client has", method: "HEAD", url: byDigest, header: http.Header{"If-None-Match": {"*"}}, status: 304},
		{name: "of which the client has another", method: "GET", url: byDigest, header: http.Header{"If-None-Match": {`"x"`}}, status: 200},
		{name: "unknown", method: "GET", url: "/v2/a/b/manifests/v9", status: 404, code: "MANIFEST_UNKNOWN"},
		{name: "HEAD of an unknown one", method: "HEAD", url: "/v2/a/b/manifests/v9", status: 404, code: "MANIFEST_UNKNOWN"},
		{name: "of an unknown repository", method: "GET", url: "/v2/x/manifests/v1", status: 404, code: "NAME_UNKNOWN"},
		{name: "tag deleted", method: "DELETE", url: "/v2/a/b/manifests/v1", status: 202},
		{name: "deleted", method: "DELETE", url: byDigest, status: 202},
		{name: "deleted and unknown", method: "DELETE", url: "/v2/a/b/manifests/v9", status: 404, code: "MANIFEST_UNKNOWN"},
	})
}

func TestPutManifest(t *testing.T) {
	index := http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}
	byDigest := "/v2/n/manifests/" + string(indexDigest)
	wide := digest.SHA512.FromString(indexJSON)
	large := strings.Repeat(" ", core.MaxManifestSize)
	runRows(t, []exchangeRow{
		{name: "by tag", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: indexJSON, status: 201,
			want: map[string]string{"Location": byDigest, "Docker-Content-Digest": string(indexDigest), "Oci-Tag": "", "Oci-Subject": ""}},
		{name: "by digest", method: "PUT", url: byDigest, header: index, body: indexJSON, status: 201, want: map[string]string{"Location": byDigest}},
		{name: "by sha512", method: "PUT", url: "/v2/n/manifests/" + string(wide), header: index, body: indexJSON, status: 201,
			want: map[string]string{"Location": "/v2/n/manifests/" + string(wide), "Docker-Content-Digest": string(wide)}},
		{name: "with ns", method: "PUT", url: "/v2/n/manifests/v1?ns=r.example:5000", header: index, body: indexJSON, status: 201,
			want: map[string]string{"Location": byDigest + "?ns=r.example%3A5000"}},
		{name: "with tags", method: "PUT", url: byDigest + "?tag=b&tag=a&tag=b", header: index, body: indexJSON, status: 201, want: map[string]string{"Oci-Tag": "b, a"}},
		{name: "with a tag, and by one", method: "PUT", url: "/v2/n/manifests/c?tag=a&tag=c", header: index, body: indexJSON, status: 201, want: map[string]string{"Oci-Tag": "c, a"}},
		{name: "of whose tags one is refused", method: "PUT", url: byDigest + "?tag=a&tag=b", header: index, body: indexJSON, status: 201,
			prepare: func(m *memory) { m.fail["tag a"] = core.ErrTagExists }, want: map[string]string{"Oci-Tag": "b"}},
		{name: "of whose tags all are refused", method: "PUT", url: byDigest + "?tag=a", header: index, body: indexJSON, status: 403, code: "DENIED",
			prepare: func(m *memory) { m.fail["tag a"] = core.ErrTagExists }},
		{name: "with a subject", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: subjectJSON, status: 201, want: map[string]string{"Oci-Subject": emptyDigest}},
		{name: "with parameters of the media type", method: "PUT", url: "/v2/n/manifests/v1", header: http.Header{"Content-Type": {ocispec.MediaTypeImageIndex + "; charset=utf-8"}}, body: indexJSON, status: 201},
		{name: "without a media type", method: "PUT", url: "/v2/n/manifests/v1", body: indexJSON, status: 400, code: "MANIFEST_INVALID"},
		{name: "that is none", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: "{", status: 400, code: "MANIFEST_INVALID"},
		{name: "by another's digest", method: "PUT", url: "/v2/n/manifests/" + emptyDigest, header: index, body: indexJSON, status: 400, code: "DIGEST_INVALID"},
		{name: "whose blobs are missing", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: indexJSON, status: 400, code: "MANIFEST_BLOB_UNKNOWN",
			prepare: func(m *memory) {
				m.fail["PutManifest"] = core.WithDetail(core.ErrManifestBlobUnknown, []string{emptyDigest})
			},
			wantBody: `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"manifest names content that the repository does not hold","detail":["` + emptyDigest + `"]}]}`},
		{name: "of 4 MiB", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: indexJSON + large[len(indexJSON):], status: 201},
		{name: "of a byte more", method: "PUT", url: "/v2/n/manifests/v1", header: index, body: large + "x", status: 413, code: "SIZE_INVALID"},
	})
}

func TestManifestOfUnknownLength(t *testing.T) {
	for _, tt := range []struct {
		name   string
		body   io.Reader
		status int
	}{
		{"that is whole", strings.NewReader(indexJSON), 201},
		{"that is too long", io.LimitReader(spaces{}, core.MaxManifestSize+1), 413},
		{"that breaks off", io.MultiReader(strings.NewReader("{"), broken{}), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("PUT", "/v2/n/manifests/v1", tt.body)
			r.ContentLength = -1
			r.Header.Set("Content-Type", ocispec.MediaTypeImageIndex)
			w := httptest.NewRecorder()
			handler(newMemory(), Options{}).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("got %d, want %d: %s", w.Code, tt.status, w.Body)
			}
		})
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestErrors(t *testing.T) {
	challenge := func() string { return `Bearer realm="http://r.example/token",service="r.example"` }
	refuse := func(err error) func(*memory) {
		return func(m *memory) { m.fail["Manifest"] = fmt.Errorf("get a/b: %w", err) }
	}
	get := func(name string, err error, status int, code string, want map[string]string) exchangeRow {
		return exchangeRow{name: name, method: "GET", url: "/v2/a/b/manifests/v1", prepare: refuse(err), opts: Options{Challenge: challenge}, status: status, code: code, want: want}
	}
	rows := []exchangeRow{
		{name: "no endpoint", method: "GET", url: "/v2/a/b/c", status: 404, code: "UNSUPPORTED"},
		{name: "another method", method: "POST", url: "/v2/a/tags/list", status: 405, code: "UNSUPPORTED", want: map[string]string{"Allow": "GET, HEAD"}},
		{name: "another method for an upload", method: "POST", url: "/v2/a/blobs/uploads/x", status: 405, code: "UNSUPPORTED", want: map[string]string{"Allow": "GET, HEAD, PATCH, PUT, DELETE"}},
		{name: "a bad name", method: "GET", url: "/v2/A/tags/list", status: 400, code: "NAME_INVALID"},
		{name: "a bad tag", method: "GET", url: "/v2/a/manifests/-", status: 400, code: "TAG_INVALID"},
		{name: "a bad digest", method: "HEAD", url: "/v2/a/blobs/sha256:", status: 400, code: "DIGEST_INVALID"},
		{name: "too many tags", method: "PUT", url: "/v2/a/manifests/" + emptyDigest + "?" + strings.Repeat("tag=a&", 101), status: 414, code: "UNSUPPORTED"},
		{name: "a method that the registry does not have", method: "GET", url: "/v2/a/b/manifests/v1", prepare: refuse(core.ErrUnsupported), status: 405, code: "UNSUPPORTED", want: map[string]string{"Allow": "GET, HEAD"}},
		{name: "login is impossible", method: "GET", url: "/v2/a/b/manifests/v1", prepare: refuse(core.ErrUnauthorized), status: 403, code: "DENIED", want: map[string]string{"Www-Authenticate": ""}},
		get("not logged in", core.ErrUnauthorized, 401, "UNAUTHORIZED", map[string]string{"Www-Authenticate": challenge()}),
		get("denied", core.ErrDenied, 403, "DENIED", map[string]string{"Www-Authenticate": ""}),
		get("too many requests", core.ErrTooManyRequests, 429, "TOOMANYREQUESTS", map[string]string{"Retry-After": "5"}),
		get("not now", core.ErrUnavailable, 503, "UNAVAILABLE", map[string]string{"Retry-After": "5"}),
		get("the upstream is broken", core.ErrUpstream, 502, "UNAVAILABLE", map[string]string{"Retry-After": ""}),
		get("the upstream is silent", core.ErrUpstreamTimeout, 504, "UNAVAILABLE", map[string]string{"Retry-After": ""}),
		get("an upstream that says when", core.WithRetry(core.ErrUpstream, time.Now().Add(time.Hour-time.Millisecond)), 502, "UNAVAILABLE", map[string]string{"Retry-After": "3600"}),
		get("an upstream that said when, and it is over", core.WithRetry(core.ErrTooManyRequests, time.Unix(1, 0)), 429, "TOOMANYREQUESTS", map[string]string{"Retry-After": "1"}),
		get("no file to open", fmt.Errorf("tag v1: %w", &os.PathError{Op: "open", Path: "v1", Err: syscall.EMFILE}), 503, "UNAVAILABLE", map[string]string{"Retry-After": "5"}),
		get("no file to open in the system", fmt.Errorf("tag v1: %w", syscall.ENFILE), 503, "UNAVAILABLE", map[string]string{"Retry-After": "5"}),
		get("a full disk", core.ErrNoSpace, 507, "UNAVAILABLE", nil),
		get("an error of ours", errDisk, 500, "UNKNOWN", nil),
	}
	for _, err := range []*core.Error{core.ErrSizeInvalid, core.ErrManifestInvalid, core.ErrBlobUploadInvalid} {
		rows = append(rows, get(err.Message, err, 400, err.Code, nil))
	}
	runRows(t, rows)
}

// Every condition that core names has its status; one that is added later is missed here.
func TestEveryConditionHasAStatus(t *testing.T) {
	for _, err := range []*core.Error{
		core.ErrNameInvalid, core.ErrNameUnknown, core.ErrTagInvalid, core.ErrDigestInvalid, core.ErrSizeInvalid,
		core.ErrManifestUnknown, core.ErrManifestInvalid, core.ErrManifestTooLarge, core.ErrManifestBlobUnknown,
		core.ErrBlobUnknown, core.ErrBlobInUse, core.ErrBlobUploadUnknown, core.ErrBlobUploadInvalid,
		core.ErrRangeInvalid, core.ErrUploadTooLarge, core.ErrUnauthorized, core.ErrDenied, core.ErrTagExists, core.ErrTooManyRequests,
		core.ErrUnsupported, core.ErrNoSpace, core.ErrUnavailable, core.ErrUpstream, core.ErrUpstreamTimeout,
	} {
		if status := statuses[err]; status < 400 || status > 599 || status == 500 {
			t.Errorf("%v has status %d", err, status)
		}
	}
}

func TestFaultsAreLoggedAndNotShown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		level string
		shown bool
	}{
		{"ours", errDisk, "ERROR", false},
		{"ours, with a known condition", fmt.Errorf("%w: %w", core.ErrNoSpace, errDisk), "ERROR", false},
		{"the client's", fmt.Errorf("%w: /var/lib/registry/blobs is what it asked for", core.ErrDenied), "INFO", true},
		{"that has another sentence for clients", core.WithPublic(fmt.Errorf("%w: /var/lib/registry/blobs at 10.0.0.1:5000", core.ErrDenied), "denied"), "INFO", false},
		{"nobody's", core.ErrManifestUnknown, "DEBUG", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			m := filled(t)
			m.fail["Manifest"] = tt.err
			w := httptest.NewRecorder()
			opts := Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			handler(m, opts).ServeHTTP(w, httptest.NewRequest("GET", "/v2/a/b/manifests/v1", nil))
			if !strings.Contains(log.String(), "level="+tt.level) || !strings.Contains(log.String(), "repository=a/b") || !strings.Contains(log.String(), tt.err.Error()) {
				t.Errorf("logged %s", &log)
			}
			if got := strings.Contains(w.Body.String(), "/var/lib/registry"); got != tt.shown {
				t.Errorf("the client sees %s", w.Body)
			}
		})
	}
}
