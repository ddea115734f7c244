package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// Errors that only HTTP can cause. The spec has no codes for them.
var (
	errRoute       = &core.Error{Code: "UNSUPPORTED", Message: "no such endpoint: below /v2/ there are _catalog and, for each <name>, manifests/<tag or digest>, blobs/<digest>, blobs/uploads/, tags/list and referrers/<digest>"}
	errTags        = &core.Error{Code: "UNSUPPORTED", Message: "too many tags"}
	errBlobRange   = &core.Error{Code: "SIZE_INVALID", Message: "range is not within the blob"}
	errBodyInvalid = &core.Error{Code: "SIZE_INVALID", Message: "request body does not have the announced length"}
	// errBodyTooLarge is a limit of the server in front (Caddy's request_body).
	errBodyTooLarge = &core.Error{Code: "SIZE_INVALID", Message: "request body is larger than the server allows"}
)

// ErrQuery is a query, or a form, that cannot be understood: 400.
var ErrQuery = &core.Error{Code: "UNSUPPORTED", Message: "malformed query"}

// statuses is the one table from an error to its HTTP status. Any other error is the
// server's own fault: 500.
var statuses = map[*core.Error]int{
	errRoute:                    http.StatusNotFound,
	ErrQuery:                    http.StatusBadRequest,
	errTags:                     http.StatusRequestURITooLong, // spec.md, end-7b
	errBlobRange:                http.StatusRequestedRangeNotSatisfiable,
	errBodyInvalid:              http.StatusBadRequest,
	errBodyTooLarge:             http.StatusRequestEntityTooLarge,
	errBodySlow:                 http.StatusRequestTimeout,
	core.ErrNameInvalid:         http.StatusBadRequest,
	core.ErrNameUnknown:         http.StatusNotFound,
	core.ErrTagInvalid:          http.StatusBadRequest,
	core.ErrDigestInvalid:       http.StatusBadRequest,
	core.ErrSizeInvalid:         http.StatusBadRequest,
	core.ErrManifestUnknown:     http.StatusNotFound,
	core.ErrManifestInvalid:     http.StatusBadRequest,
	core.ErrManifestTooLarge:    http.StatusRequestEntityTooLarge,
	core.ErrManifestBlobUnknown: http.StatusBadRequest,
	core.ErrBlobUnknown:         http.StatusNotFound,
	core.ErrBlobInUse:           http.StatusMethodNotAllowed,
	core.ErrBlobUploadUnknown:   http.StatusNotFound,
	core.ErrBlobUploadInvalid:   http.StatusBadRequest,
	core.ErrRangeInvalid:        http.StatusRequestedRangeNotSatisfiable,
	core.ErrUploadTooLarge:      http.StatusRequestEntityTooLarge,
	core.ErrUnauthorized:        http.StatusUnauthorized,
	core.ErrDenied:              http.StatusForbidden,
	core.ErrTagExists:           http.StatusForbidden,
	core.ErrChanged:             http.StatusConflict,
	core.ErrTypeHeld:            http.StatusForbidden,
	core.ErrTooManyRequests:     http.StatusTooManyRequests,
	core.ErrUnsupported:         http.StatusMethodNotAllowed,
	core.ErrNoSpace:             http.StatusInsufficientStorage,
	core.ErrUnavailable:         http.StatusServiceUnavailable,
	core.ErrUpstream:            http.StatusBadGateway,
	core.ErrUpstreamTimeout:     http.StatusGatewayTimeout,
}

// StatusGone is nginx's number for a client that left before its answer. It is for the log
// and for Outcome.Status, and is never sent.
const StatusGone = 499

const (
	// retryAfter, in seconds, is how long a client is asked to wait when the registry
	// cannot serve it now.
	retryAfter = 5
	// maxMessage bounds, in bytes, the part of an error's text that is sent: some texts
	// quote the client's input.
	maxMessage = 1 << 10
)

// errInternal is all that a client learns about a fault of ours.
var errInternal = &core.Error{Code: "UNKNOWN", Message: "internal error; the registry's log has the details"}

// classify returns the error that a client gets for err, and its status.
func classify(r *http.Request, err error) (*core.Error, int) {
	var known *core.Error
	if errors.As(err, &known) {
		if status, ok := statuses[known]; ok {
			return known, status
		}
	}
	switch {
	case r.Context().Err() != nil:
		return core.ErrUnavailable, StatusGone
	case errors.Is(err, context.DeadlineExceeded), exhausted(err):
		return core.ErrUnavailable, http.StatusServiceUnavailable
	}
	return errInternal, http.StatusInternalServerError
}

// exhausted reports whether the process or the system has no file left to open: nothing
// is wrong with the request, and other requests will soon close theirs.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// Fail answers a request with an error, as OCI JSON, and logs it: a client's mistake as
// info, ours as error, and an ordinary part of the protocol (not found, not logged in)
// as debug. Observe gets the same status.
//
// It is for errors from before Serve: those of Parse, of namespace.Resolve, and of
// authentication. The header may already have more fields.
func Fail(w http.ResponseWriter, r *http.Request, req Request, err error, opts Options) {
	e := begin(w, r, req, opts)
	defer e.done()
	e.fail(err)
}

func (e *exchange) fail(err error) {
	if e.opts.Explain != nil {
		err = e.opts.Explain(err)
	}
	known, status := classify(e.r, err)
	if status == http.StatusUnauthorized && e.opts.NoLogin {
		known, status = core.ErrNameUnknown, http.StatusNotFound
		err = fmt.Errorf("%w: %s", known, e.req.Name)
	}
	if status == http.StatusUnauthorized && e.opts.Challenge == nil {
		// A 401 must say how to log in (RFC 9110, 15.5.2). Where login is impossible,
		// anonymous callers get 403.
		known, status = core.ErrDenied, http.StatusForbidden
	}
	e.err = err
	e.log(status, err)
	if status == StatusGone {
		e.writeHeader(status)
		return
	}
	e.set("Content-Type", "application/json")
	e.set("Cache-Control", "no-store")
	switch status {
	case http.StatusUnauthorized:
		e.set("Www-Authenticate", e.opts.Challenge())
	case http.StatusMethodNotAllowed:
		e.set("Allow", allowed(err))
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if e.header.Get("Retry-After") == "" {
			e.set("Retry-After", strconv.Itoa(retryAfter))
		}
	}
	if at := core.Retry(err); !at.IsZero() {
		wait := int(math.Ceil(time.Until(at).Seconds()))
		e.set("Retry-After", strconv.Itoa(max(wait, 1)))
	}
	body := errorBody(known, status, err)
	e.set("Content-Length", strconv.Itoa(len(body)))
	e.writeHeader(status)
	if e.r.Method != http.MethodHead {
		e.write(body)
	}
}

// allowed is the Allow field that a 405 must have (RFC 9110, 15.5.6). If the repository
// refuses the method, and not the endpoint, it can still be read.
func allowed(err error) string {
	var method *methodError
	if errors.As(err, &method) {
		return method.allow
	}
	return http.MethodGet + ", " + http.MethodHead
}

// errorBody is the JSON of spec.md ("Error Codes"). The text of an internal error may
// name files and hosts, which the client must not see.
func errorBody(known *core.Error, status int, err error) []byte {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	one := entry{known.Code, known.Message, nil}
	if status < http.StatusInternalServerError {
		if !ofTheSystem(err) {
			one.Message = core.Public(err)
		}
		if len(one.Message) > maxMessage {
			one.Message = one.Message[:maxMessage]
		}
		one.Detail = core.Detail(err)
	}
	body, marshalErr := marshal(map[string][]entry{"errors": {one}})
	if marshalErr != nil {
		one.Detail = nil // the answer matters more than its detail
		body, _ = marshal(map[string][]entry{"errors": {one}})
	}
	return body
}

// ofTheSystem reports whether an error has a text of the operating system or the
// network in it, which names files, hosts and addresses. Even a client's own mistake
// can have one: the error of a body that breaks off names the address from which it was
// read.
func ofTheSystem(err error) bool {
	return as[*fs.PathError](err) || as[*os.LinkError](err) || as[*os.SyscallError](err) || as[syscall.Errno](err) ||
		as[*net.OpError](err) || as[*net.DNSError](err) || as[*url.Error](err)
}

func as[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// marshal is json.Marshal without the escapes for HTML, which are not needed here.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

func (e *exchange) log(status int, err error) {
	if e.opts.Log == nil {
		return
	}
	level := slog.LevelInfo
	switch {
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	case status == http.StatusNotFound, status == http.StatusUnauthorized, status == StatusGone:
		level = slog.LevelDebug
	}
	e.opts.Log.LogAttrs(e.r.Context(), level, "request refused",
		slog.String("operation", e.req.Kind.String()),
		slog.String("repository", e.req.Repo),
		slog.Int("status", status),
		slog.Any("error", err))
}
