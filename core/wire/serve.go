package wire

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/budget"
)

// apiVersion is the value of the field Docker-Distribution-API-Version of every answer:
// Docker's older clients do not recognize a registry without it.
const apiVersion = "registry/2.0"

// Protect sets the fields that keep a browser from running the content that it is sent:
// manifests and blobs come from strangers, and the host also serves pages for people.
// Every answer of Serve and Fail has these fields; other handlers must call Protect
// first.
func Protect(header http.Header) {
	header.Set("X-Content-Type-Options", noSniff)
	header.Set("Content-Security-Policy", sandbox)
}

const (
	// noSniff keeps a browser from guessing a type that runs (Fetch standard, "nosniff").
	noSniff = "nosniff"
	// sandbox gives a document an origin of its own, without scripts, and lets it load
	// nothing: it can send no request that carries a cookie of this host.
	sandbox = "sandbox; default-src 'none'"
)

// Options holds what the connection layer knows about one request and wire does not.
type Options struct {
	// Public says that everybody may read this repository: shared caches on the way may
	// keep the answers. Default: only the client's own cache may.
	Public bool
	// Challenge makes the WWW-Authenticate field of a 401. It is called at most
	// once. Default: login is impossible, and 403 is answered instead.
	Challenge func() string
	// NoLogin answers 404 instead of a 401, as if there were no such repository: for
	// clients that must not be asked to log in. Default: they are.
	NoLogin bool
	// Explain may replace an error, before it is answered, with a more detailed one for
	// this caller. Default: each is answered as it is.
	Explain func(error) error
	// Cursors hide where a catalog continues that left out too many names for one page.
	// Default: such a page is an error.
	Cursors Cursors
	// Manifests bounds the manifests that are received and stored at the same time.
	// Default: no bound.
	Manifests *budget.Budget
	// Sent bounds the large manifests that are in memory while clients read them.
	// Default: no bound.
	Sent *budget.Budget
	// Caller is the principal whose share of Manifests and Sent the request uses: see
	// core.Access.Principal.
	Caller core.Access
	// Log receives refused requests and broken bodies. Default: nothing is logged.
	Log *slog.Logger
	// Observe is called once at the end, also when the body broke and Serve panics.
	// Default: none.
	Observe func(Outcome)
}

// Outcome is how a request ended, for metrics and logs.
type Outcome struct {
	Kind Kind
	// Status is the status that was sent; StatusGone if the client had left before.
	Status int
	// Sent is the number of body bytes that were written.
	Sent int64
	// Source says where the content came from. It is empty if the registry has not said.
	Source core.Source
	// First is when the first byte of the answer was written: of the body if that is a
	// blob on its way, else of the header. Zero: none was written.
	First time.Time
	// Err is the error that was answered, or that broke the body after a good status. It
	// is nil if all went well.
	Err error
}

// Serve carries out a request that Parse made, against reg, and writes the answer.
// An error of reg becomes a status by one table (errors.go).
//
// When a body breaks after its header was sent, Serve panics with
// http.ErrAbortHandler, which makes net/http cut the connection: a client must not
// mistake a part for the whole.
//
// A request with a body may be answered before the body was read, for example when the
// caller lacks the permission. See LeaveBody.
func Serve(w http.ResponseWriter, r *http.Request, req Request, reg core.Registry, opts Options) {
	e := begin(w, r, req, opts)
	e.reg = reg
	defer e.done()
	var handle func(*exchange) error
	if req.Kind > 0 && int(req.Kind) < len(handlers) {
		handle = handlers[req.Kind]
	}
	if handle == nil {
		e.fail(errRoute)
		return
	}
	if err := handle(e); err != nil {
		e.fail(err)
	}
}

// handlers has one for each Kind. A handler that returns an error has written nothing.
var handlers = [...]func(*exchange) error{
	Ping:           (*exchange).ping,
	Blob:           (*exchange).blob,
	Manifest:       (*exchange).manifest,
	StartUpload:    (*exchange).startUpload,
	PatchUpload:    (*exchange).patchUpload,
	PutUpload:      (*exchange).putUpload,
	PutManifest:    (*exchange).putManifest,
	ListTags:       (*exchange).listTags,
	DeleteManifest: (*exchange).deleteManifest,
	DeleteBlob:     (*exchange).deleteBlob,
	ListReferrers:  (*exchange).listReferrers,
	UploadStatus:   (*exchange).uploadStatus,
	CancelUpload:   (*exchange).cancelUpload,
	Catalog:        (*exchange).catalog,
}

// exchange is one request with its answer.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	req  Request
	reg  core.Registry
	opts Options

	header http.Header // of w
	values [12]string  // of header's fields: see set
	used   int         // of values

	bodyRead bool // the request's body, to its end

	notes  *core.Notes // nil: the client did not ask for any
	status int
	sent   int64
	first  time.Time
	err    error
}

func (e *exchange) done() {
	if e.opts.Observe != nil {
		o := Outcome{Kind: e.req.Kind, Status: e.status, Sent: e.sent, First: e.first, Err: e.err}
		if e.notes != nil {
			o.Source = e.notes.Source()
		}
		e.opts.Observe(o)
	}
}

func (e *exchange) writeHeader(status int) {
	if !e.bodyRead {
		LeaveBody(e.w, e.r)
	}
	e.status = status
	e.w.WriteHeader(status)
	e.first = time.Now()
}

// context returns the request's context, in which a registry notes details of the answer.
func (e *exchange) context() context.Context {
	ctx, notes := core.WithNotes(e.r.Context())
	e.notes = notes
	return ctx
}

// linger is how long net/http may wait for the rest of an unread body. It reads up to 256
// KiB of it before the answer goes out, at the client's pace, because a client that is
// still sending would be reset and lose the answer. That helps clients that send, not
// those that only announce a body.
const linger = 2 * time.Second

// LeaveBody prepares an answer to a request whose body was not read: the answer is sent
// within linger. A client that waits before sending its body (Expect: 100-continue) gets
// it at once, and the connection ends (RFC 9110, 10.1.1): behind a server that wraps
// bodies, as Caddy's does, net/http does not notice that the body was not requested, and
// would wait for it. LeaveBody does nothing if there is no body, and in HTTP/2, where
// each request ends by itself.
func LeaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	if r.Header.Get("Expect") != "" {
		w.Header().Set("Connection", "close")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger)) // a test's writer may have no deadlines
}

// write sends a short body. It fails only if the client is gone, which net/http notices.
func (e *exchange) write(body []byte) {
	n, err := e.w.Write(body)
	e.sent += int64(n)
	if err != nil && e.err == nil {
		e.err = err
	}
}

// begin makes the exchange, with the fields that every answer has.
func begin(w http.ResponseWriter, r *http.Request, req Request, opts Options) *exchange {
	e := &exchange{w: w, r: r, req: req, opts: opts, header: w.Header()}
	e.set("Docker-Distribution-Api-Version", apiVersion)
	e.set("X-Content-Type-Options", noSniff)
	e.set("Content-Security-Policy", sandbox)
	if e.req.NS != "" {
		e.set("Oci-Namespace", e.req.NS)
	}
	return e
}

// set sets a field of the header, whose key is in its canonical form. It uses only the
// exchange's own memory, because the header is most of the cost of serving a manifest. A
// value is never shared between requests: the server in front may edit it in place.
func (e *exchange) set(key, value string) {
	if e.used == len(e.values) {
		e.header[key] = []string{value}
		return
	}
	e.values[e.used] = value
	e.used++
	e.header[key] = e.values[e.used-1 : e.used : e.used]
}

// send ends a good answer whose whole body is known.
func (e *exchange) send(status int, contentType string, body []byte) {
	e.set("Content-Type", contentType)
	e.set("Content-Length", strconv.Itoa(len(body)))
	e.writeHeader(status)
	if e.r.Method != http.MethodHead {
		e.write(body)
	}
}

func (e *exchange) ping() error {
	e.set("Cache-Control", "no-store") // the answer depends on who asks
	e.send(http.StatusOK, "application/json", []byte("{}"))
	return nil
}

// location returns a URL of this repository, relative to the host, for Location and
// Link. It keeps `ns`, without which the next request would go to another repository.
func (e *exchange) location(path string, query url.Values) string {
	s := "/v2/"
	if e.req.Name != "" {
		s += e.req.Name + "/"
	}
	s += path
	if e.req.NS != "" {
		if query == nil {
			query = url.Values{}
		}
		query.Set("ns", e.req.NS)
	}
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}
