package upstream

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// maxMeasured and measuredLife bound the memory of blobs that came with a content
	// coding: about as many as are downloaded at once, for as long as a large one takes.
	maxMeasured  = 1000
	measuredLife = time.Hour
	// maxWeighed bounds the bytes that are read to find out which coding a blob has. No
	// layer is so large, and an endless one does not occupy a connection longer.
	maxWeighed = 64 << 30
)

// measured is the result of reading a blob whose answer claims to be gzipped.
type measured struct {
	size int64 // of the blob
	// asIs: the bytes as sent have the digest. They are a layer that is itself gzip,
	// which a storage wrongly declares as a transfer coding, or are not compressed at
	// all. Otherwise the digest is that of the decompressed bytes.
	asIs bool
}

// likely reports whether an answer that claims to be gzipped probably has the blob's own
// bytes, because it is as long as the blob is said to be. If that was wrong once (a
// manifest may lie), it is not assumed again before the blob was measured.
func (c *Client) likely(r *reply, d digest.Digest, expected int64) bool {
	if !gzipped(r.Header) || expected < 0 || r.total() != expected {
		return false
	}
	_, known := c.measured.Get(d)
	_, wrong := c.misjudged.Get(d)
	return !known && !wrong
}

// undo turns an answer that claims to be gzipped into one with the blob's own bytes from
// offset, or before it, and returns the blob's size. Only the digest shows which bytes
// these are, and it needs all of them: the first such answer is read whole, and another
// one is requested. So no wrong bytes are passed on. Errors: those of the package;
// ErrCorrupt or ErrUnavailable when neither has the digest.
func (c *Client) undo(ctx context.Context, repo string, d digest.Digest, offset int64, r *reply) (*reply, int64, error) {
	m, ok := c.measured.Get(d)
	if !ok {
		var err error
		if m, err = c.measure(ctx, repo, d, r); err != nil {
			return nil, 0, err
		}
		c.measured.Set(d, m)
		if r, err = c.rest(ctx, repo, d, offset); err != nil {
			return nil, 0, err
		}
	}
	if r.codedAs(m) && r.StatusCode == http.StatusPartialContent {
		// This is a range of the compressed bytes. They cannot be resumed: all of them are read
		// again.
		_ = r.abandon()
		var err error
		if r, err = c.rest(ctx, repo, d, 0); err != nil {
			return nil, 0, err
		}
	}
	if r.codedAs(m) {
		_ = decode(r.Response) // it is gzip
	}
	return r, m.size, nil
}

// codedAs reports whether an answer sends the blob compressed. Its length shows that, if
// it has one: another node may serve the same blob differently.
func (r *reply) codedAs(m measured) bool {
	if !gzipped(r.Header) {
		return false
	}
	if total := r.total(); total >= 0 {
		return total != m.size
	}
	return !m.asIs
}

// measure reads a blob whole, from r if that is its beginning, and once more if that
// fails. It closes r.
func (c *Client) measure(ctx context.Context, repo string, d digest.Digest, r *reply) (m measured, err error) {
	for range 2 {
		if r == nil || r.StatusCode == http.StatusPartialContent {
			if r != nil {
				_ = r.abandon()
			}
			if r, err = c.rest(ctx, repo, d, 0); err != nil {
				return m, err
			}
		}
		m, err = r.measure(d)
		_ = r.abandon()
		if r = nil; err == nil || ctx.Err() != nil {
			break
		}
	}
	return m, err
}

// measure hashes the body both as it is and decompressed.
func (r *reply) measure(d digest.Digest) (measured, error) {
	asIs, within := d.Verifier(), d.Verifier()
	body := &failing{Reader: io.TeeReader(&limited{r: r, most: maxWeighed}, asIs)}
	plain := &gzipBody{body: io.NopCloser(body)}
	size, coding := io.Copy(within, plain)
	_, _ = io.Copy(io.Discard, &counter{body, &plain.in}) // the rest that gzip has not read
	switch {
	case body.err != nil:
		return measured{}, body.err
	case asIs.Verified():
		return measured{plain.in, true}, nil
	case coding != nil:
		return measured{}, r.fail(ErrUnavailable, "its gzip cannot be read: "+printable(coding.Error()))
	case within.Verified():
		return measured{size, false}, nil
	}
	return measured{}, r.fail(ErrCorrupt, "neither the bytes as sent nor decompressed have the digest")
}

// abandon closes an answer and ends its trip.
func (r *reply) abandon() error {
	err := r.Body.Close()
	r.trip.end()
	return err
}
