package upstream

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxRatio is how many bytes one compressed byte may become, once more than
	// freeRatio have come: texts gain a factor of 10 to 20, and an empty file system in
	// an uncompressed layer at most 100. Gzip can do 1,032.
	maxRatio  = 200
	freeRatio = 64 << 20
	// gzipMagic is how gzip begins (RFC 1952, 2.3.1), and no JSON does.
	gzipMagic = "\x1f\x8b"
)

// errCoding is the error for an unrequested encoding that cannot be undone.
var errCoding = errors.New("the answer has a content coding that was not requested")

// codings returns the content codings that an answer claims.
func codings(h http.Header) (all []string) {
	for _, field := range h.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(field, ",") {
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding != "" && coding != "identity" {
				all = append(all, coding)
			}
		}
	}
	return all
}

// gzipped reports whether an answer claims the one coding that can be undone.
func gzipped(h http.Header) bool {
	all := codings(h)
	return len(all) == 1 && (all[0] == "gzip" || all[0] == "x-gzip")
}

// decode undoes the content coding of an answer. Every request refuses codings
// (otherwise a server may use any, RFC 9110, 12.5.3), but some servers and proxies
// compress nevertheless. Digests are of the bytes without the coding.
//
// The length of an answer with a coding is unknown, and a range is one of other bytes.
// Errors: errCoding for anything but one gzip; the body then stays as it is.
func decode(r *http.Response) error {
	all := codings(r.Header)
	if len(all) == 0 {
		return nil
	}
	known := gzipped(r.Header)
	r.Header.Del("Content-Encoding")
	r.Header.Del("Content-Length")
	r.ContentLength, r.Uncompressed = -1, true
	if !known {
		return fmt.Errorf("%w: %s", errCoding, printable(strings.Join(all, ", ")))
	}
	if r.Request == nil || r.Request.Method != http.MethodHead {
		r.Body = &gzipBody{body: r.Body}
	}
	return nil
}

// gzipBody decompresses body, or reads it unchanged if it does not begin as gzip does:
// then the header was wrong. The beginning is read with the first bytes, under the same
// timeout.
type gzipBody struct {
	body    io.ReadCloser
	in, out int64
	plain   io.Reader
	as      bool  // body is read as it is
	err     error // ends every read after it
}

// Read implements io.Reader. An end that comes too early is io.ErrUnexpectedEOF.
func (b *gzipBody) Read(p []byte) (n int, err error) {
	if b.plain == nil && b.err == nil {
		b.err = b.begin()
	}
	if b.err != nil {
		return 0, b.err
	}
	n, b.err = b.plain.Read(p)
	if b.out += int64(n); !b.as && b.out > freeRatio && b.out > maxRatio*b.in {
		b.err = fmt.Errorf("%d compressed bytes became %d, which is more than any real content", b.in, b.out)
	}
	return n, b.err
}

func (b *gzipBody) begin() (err error) {
	in := bufio.NewReader(&counter{b.body, &b.in})
	first, err := in.Peek(len(gzipMagic))
	switch {
	case len(first) == 0 && err == io.EOF:
		return io.ErrUnexpectedEOF // an empty body is not a gzip of an empty one
	case len(first) == 0:
		return err
	case string(first) != gzipMagic:
		b.plain, b.as = in, true
		return nil
	}
	if b.plain, err = gzip.NewReader(in); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (b *gzipBody) Close() error { return b.body.Close() }

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}
