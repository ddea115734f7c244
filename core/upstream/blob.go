package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Blob opens a blob at offset, in bytes, and returns its whole size, or -1. The body fails
// with an error of this package when the upstream breaks off or stalls; the caller asks
// again from where it stopped, and closes it in any case. ctx bounds the reading too.
//
// The caller must check the digest, because only it has the bytes before offset. An offset
// that is the blob's whole size gives an empty body. expected is the size that the blob is
// said to have, or -1: an answer of that length which claims to be gzipped is passed on at
// once, others only after their bytes have been examined (see undo). Errors: those of the
// package; ErrCorrupt when another range is sent.
func (c *Client) Blob(ctx context.Context, repo string, d digest.Digest, offset, expected int64) (body io.ReadCloser, size int64, err error) {
	free, err := c.slots.acquire(ctx, repo)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	r, err := c.rest(ctx, repo, d, offset)
	whole := int64(-1)
	likely := err == nil && c.likely(r, d, expected)
	if err == nil && gzipped(r.Header) && !likely {
		r, whole, err = c.undo(ctx, repo, d, offset, r)
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable && e.complete == offset && offset > 0 {
			free()
			return io.NopCloser(strings.NewReader("")), offset, nil
		}
		return nil, 0, err
	}
	b := &blobBody{reply: r, free: free}
	if likely && offset == 0 {
		b.sum, b.wrong = d.Verifier(), func() { c.misjudged.Set(d, struct{}{}) }
	}
	if b.size, b.skip, err = r.extent(offset); err != nil {
		b.Close()
		return nil, 0, err
	}
	if b.size < 0 {
		b.size = whole
	}
	return b, b.size, nil
}

// rest asks for a blob from offset, and leaves the answer's coding as it is. A blob that is
// known to come compressed is requested from its beginning: a range would be of other bytes.
func (c *Client) rest(ctx context.Context, repo string, d digest.Digest, offset int64) (*reply, error) {
	if m, ok := c.measured.Get(d); ok && !m.asIs {
		offset = 0
	}
	q := question{method: http.MethodGet, repo: repo, path: "blobs/" + string(d), asIs: true}
	if offset > 0 {
		q.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", offset)}}
	}
	return c.ask(ctx, q)
}

// extent returns a blob's whole size, and how many bytes come before offset.
func (r *reply) extent(offset int64) (size, skip int64, err error) {
	if r.StatusCode != http.StatusPartialContent || r.Uncompressed {
		return r.ContentLength, offset, nil // all of it, as a 200 to a Range is
	}
	first, size, ok := parseContentRange(r.Header.Get("Content-Range"))
	if !ok || first != offset {
		return 0, 0, r.fail(ErrCorrupt, "another range than requested")
	}
	if size >= 0 && r.ContentLength >= 0 && first+r.ContentLength != size {
		return 0, 0, r.fail(ErrCorrupt, "the range ends before the blob does")
	}
	return size, 0, nil
}

// parseContentRange reads "bytes 5-9/10", or "bytes 5-9/*" with size -1.
func parseContentRange(s string) (first, size int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, total, cut := strings.Cut(s, "/")
	from, to, dash := strings.Cut(span, "-")
	if !ok || !cut || !dash {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, false
	}
	if total == "*" {
		return first, -1, true
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return first, size, err == nil && last < size
}

// completeLength reads the size from a 416: "bytes */10". -1 if there is none.
func completeLength(s string) int64 {
	total, ok := strings.CutPrefix(s, "bytes */")
	n, err := strconv.ParseInt(total, 10, 64)
	if !ok || err != nil || n < 0 {
		return -1
	}
	return n
}

// blobBody reads the rest of a blob. Close frees its place among the transfers.
type blobBody struct {
	*reply
	size, skip int64
	free       func()
	// sum hashes a body that is likely to be the blob as it is, and is nil for others; wrong
	// is called at the end if the digest differs.
	sum   digest.Verifier
	wrong func()
}

// Read skips the bytes that a 200 sends before the offset.
func (b *blobBody) Read(p []byte) (int, error) {
	if b.skip > 0 {
		n, err := io.CopyN(io.Discard, b.reply, b.skip)
		b.skip -= n
		if errors.Is(err, io.EOF) {
			return 0, b.fail(ErrCorrupt, "the blob ends before the offset")
		}
		if err != nil {
			return 0, err
		}
	}
	n, err := b.reply.Read(p)
	if b.sum != nil {
		_, _ = b.sum.Write(p[:n]) // a hash accepts everything
		if err == io.EOF && !b.sum.Verified() {
			b.wrong()
		}
	}
	return n, err
}

// Close abandons the unread rest.
func (b *blobBody) Close() error {
	err := b.abandon()
	b.free()
	return err
}
