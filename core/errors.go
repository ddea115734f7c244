package core

import (
	"errors"
	"time"
)

// Error is one of the field's error conditions: the code of the distribution spec
// ("Error Codes") and a sentence. Compare with errors.Is against the values below;
// wire's table gives each its HTTP status.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// The conditions that a Registry reports. Wrap them with %w and the noun acted on.
var (
	ErrNameInvalid         = &Error{"NAME_INVALID", "invalid repository name"}
	ErrNameUnknown         = &Error{"NAME_UNKNOWN", "repository not known to registry"}
	ErrTagInvalid          = &Error{"TAG_INVALID", "invalid tag"}
	ErrDigestInvalid       = &Error{"DIGEST_INVALID", "digest is malformed, unsupported, or does not match the content"}
	ErrSizeInvalid         = &Error{"SIZE_INVALID", "content is not as long as was announced"}
	ErrManifestUnknown     = &Error{"MANIFEST_UNKNOWN", "manifest unknown to registry"}
	ErrManifestInvalid     = &Error{"MANIFEST_INVALID", "manifest invalid"}
	ErrManifestTooLarge    = &Error{"SIZE_INVALID", "manifest larger than 4 MiB"}
	ErrManifestBlobUnknown = &Error{"MANIFEST_BLOB_UNKNOWN", "manifest names content that the repository does not hold"}
	ErrBlobUnknown         = &Error{"BLOB_UNKNOWN", "blob unknown to registry"}
	ErrBlobInUse           = &Error{"UNSUPPORTED", "blob is named by manifests of the repository; delete those first"}
	ErrBlobUploadUnknown   = &Error{"BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"}
	ErrBlobUploadInvalid   = &Error{"BLOB_UPLOAD_INVALID", "blob upload invalid"}
	ErrRangeInvalid        = &Error{"BLOB_UPLOAD_INVALID", "chunk does not begin where the upload ends"}
	ErrUploadTooLarge      = &Error{"SIZE_INVALID", "blob larger than this registry takes"}
	ErrUnauthorized        = &Error{"UNAUTHORIZED", "authentication required"}
	ErrDenied              = &Error{"DENIED", "requested access to the resource is denied"}
	ErrTagExists           = &Error{"DENIED", "tag exists and may not be overwritten"}
	ErrChanged             = &Error{"DENIED", "what the registry holds has changed meanwhile"}
	ErrTypeHeld            = &Error{"DENIED", "manifest is held with another media type"}
	ErrTooManyRequests     = &Error{"TOOMANYREQUESTS", "too many requests"}
	ErrUnsupported         = &Error{"UNSUPPORTED", "operation is not supported"}
	ErrNoSpace             = &Error{"UNAVAILABLE", "no space left on the registry's disk"}
	ErrUnavailable         = &Error{"UNAVAILABLE", "registry cannot serve this now"}
	// The requested content is not held, and the upstream could not be asked.
	ErrUpstream        = &Error{"UNAVAILABLE", "the upstream registry is broken or unreachable"}
	ErrUpstreamTimeout = &Error{"UNAVAILABLE", "the upstream registry does not answer in time"}
)

// WithDetail attaches a value for the `detail` member of the OCI error JSON. It
// must marshal to JSON and must not hold a secret.
func WithDetail(err error, detail any) error {
	return &detailed{err, detail}
}

// Detail returns the outermost detail that WithDetail attached, or nil.
func Detail(err error) any {
	var d *detailed
	if errors.As(err, &d) {
		return d.detail
	}
	return nil
}

type detailed struct {
	error
	detail any
}

func (d *detailed) Unwrap() error { return d.error }

// WithPublic gives an error another text for clients: its own text is for the log and
// may name things that only the operator should see, such as hosts behind an upstream.
func WithPublic(err error, sentence string) error {
	return &public{err, sentence}
}

// Public returns the text of an error for clients: the outermost that WithPublic gave,
// or the error's own.
func Public(err error) string {
	var p *public
	if errors.As(err, &p) {
		return p.sentence
	}
	return err.Error()
}

type public struct {
	error
	sentence string
}

func (p *public) Unwrap() error { return p.error }

// WithRetry attaches the time at which it makes sense to ask again. A zero time is
// ignored.
func WithRetry(err error, at time.Time) error {
	if at.IsZero() {
		return err
	}
	return &retry{err, at}
}

// Retry returns the outermost time that WithRetry attached, or the zero time.
func Retry(err error) time.Time {
	var r *retry
	if errors.As(err, &r) {
		return r.at
	}
	return time.Time{}
}

type retry struct {
	error
	at time.Time
}

func (r *retry) Unwrap() error { return r.error }
