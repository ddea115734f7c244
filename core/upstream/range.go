package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// ErrNoRange: the upstream does not send a single part of a blob, or not of its uncompressed
// bytes.
var ErrNoRange = errors.New("upstream sends no such range")

// Range opens length bytes of a blob of size bytes at offset. It takes a place among the
// transfers, as Blob does, until the body is closed. Unlike Blob it accepts only exactly these
// bytes: an answer with all of the blob, with another range or with a content coding is
// abandoned. The bytes are not verified. Errors: those of the package; ErrNoRange.
func (c *Client) Range(
	ctx context.Context, repo string, d digest.Digest, offset, length, size int64,
) (io.ReadCloser, error) {
	if m, ok := c.measured.Get(d); ok && !m.asIs {
		return nil, fmt.Errorf("%w: %s comes compressed", ErrNoRange, d)
	}
	free, err := c.slots.acquire(ctx, repo)
	if err != nil {
		return nil, err
	}
	span := fmt.Sprintf("%d-%d", offset, offset+length-1)
	r, err := c.ask(ctx, question{
		method: http.MethodGet, repo: repo, path: "blobs/" + string(d), asIs: true,
		header: http.Header{"Range": {"bytes=" + span}},
	})
	if err != nil {
		free()
		return nil, err
	}
	b := &blobBody{reply: r, free: free, size: size}
	got := r.Header.Get("Content-Range")
	switch {
	case r.StatusCode != http.StatusPartialContent, len(codings(r.Header)) > 0,
		got != fmt.Sprintf("bytes %s/%d", span, size) && got != "bytes "+span+"/*",
		r.ContentLength >= 0 && r.ContentLength != length:
		b.Close()
		return nil, fmt.Errorf("%w: status %d, Content-Range %q", ErrNoRange, r.StatusCode, printable(got))
	}
	return b, nil
}
