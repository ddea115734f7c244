package upstream

import (
	"context"
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Attest reports whether repo has the blob: nil when it has, with its size or -1. want is
// the blob's size, if that is known for certain, or -1. It sends a HEAD and follows
// redirects. If that is answered with an error (signed URLs are often for GET only) or not
// with a blob, it asks for a Range of one byte, whose answer counts. Config.HeadTimeout
// bounds each of the two.
//
// A portal answers everything with 200, so that alone attests nothing: see attest.
// Errors: those of the package; ErrNotFound when it has not; ErrCorrupt when the answer
// does not show that it is about this blob.
func (c *Client) Attest(ctx context.Context, repo string, d digest.Digest, want int64) (size int64, err error) {
	q := question{
		method: http.MethodHead, repo: repo, path: "blobs/" + string(d), within: c.config.HeadTimeout,
		unsure: true, asIs: true,
		read: func(r *reply) (err error) {
			size, err = r.attest(d, want, ErrNoDigest)
			return err
		},
	}
	_, err = c.ask(ctx, q)
	if !errors.Is(err, ErrNoDigest) {
		return size, err
	}
	q.method, q.unsure, q.header = http.MethodGet, false, http.Header{"Range": {"bytes=0-0"}}
	q.read = func(r *reply) (err error) {
		size, err = r.attest(d, want, ErrCorrupt)
		return err
	}
	_, err = c.ask(ctx, q)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable && e.complete == 0 && want <= 0 {
		return 0, nil // an empty blob has no first byte
	}
	return size, err
}

// attest returns the size, or -1, of the blob that an answer is about. The answer must
// name the blob's digest, or have the wanted size. If neither is known it must at least
// not be a web page. Its length is not that of the blob if it has a content coding, unless
// it claims that wrongly. Errors: mismatch, as a condition, for another blob or none.
func (r *reply) attest(d digest.Digest, want int64, mismatch error) (size int64, err error) {
	size = r.total()
	named, err := core.ParseDigest(r.Header.Get("Docker-Content-Digest"))
	comparable := err == nil && named.Algorithm() == d.Algorithm()
	mediaType, _ := core.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case comparable && named != d:
		return 0, r.fail(mismatch, "it names another digest than the blob's")
	case comparable && want >= 0:
		return want, nil
	case comparable:
	case want >= 0 && size != want:
		return 0, r.fail(mismatch, "neither its digest nor its size is that of the blob")
	case want < 0 && mediaType == "text/html":
		return 0, r.fail(mismatch, "it is a web page")
	}
	if want < 0 && len(codings(r.Header)) > 0 {
		return -1, nil
	}
	return size, nil
}

// total returns the complete length of the content of an answer, before a coding is
// undone; -1 if unknown.
func (r *reply) total() int64 {
	if r.StatusCode != http.StatusPartialContent {
		return r.ContentLength
	}
	_, total, ok := parseContentRange(r.Header.Get("Content-Range"))
	if !ok {
		return -1
	}
	return total
}
