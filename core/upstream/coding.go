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
)

// errCoding is an encoding that was not asked for and cannot be undone.
var errCoding = errors.New("the answer has a content coding that was not asked for")

// decode undoes the content coding of an answer. Every request says that it takes none
// (without a word a server may use any, RFC 9110, 12.5.3), but some servers, and what is
// before them, compress all the same. Digests are of the bytes without it.
//
// Of a decoded answer the length is not known, and a range is one of other bytes.
// Errors: errCoding for anything but one gzip.
func decode(r *http.Response) error {
	var codings []string
	for _, field := range r.Header.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(field, ",") {
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding != "" && coding != "identity" {
				codings = append(codings, coding)
			}
		}
	}
	switch {
	case len(codings) == 0:
		return nil
	case len(codings) > 1 || codings[0] != "gzip" && codings[0] != "x-gzip":
		return fmt.Errorf("%w: %s", errCoding, printable(strings.Join(codings, ", ")))
	}
	r.Header.Del("Content-Encoding")
	r.Header.Del("Content-Length")
	r.ContentLength, r.Uncompressed = -1, true
	if r.Request == nil || r.Request.Method != http.MethodHead {
		r.Body = &gzipBody{body: r.Body}
	}
	return nil
}

// gzipBody reads what is compressed in body. The header is read with the first bytes,
// under the same timeout.
type gzipBody struct {
	body    io.ReadCloser
	in, out int64
	plain   *gzip.Reader
	err     error // ends every read after it
}

// Read implements io.Reader. An end that comes too early is io.ErrUnexpectedEOF.
func (b *gzipBody) Read(p []byte) (n int, err error) {
	if b.plain == nil && b.err == nil {
		b.plain, b.err = gzip.NewReader(bufio.NewReader(&counter{b.body, &b.in}))
		if b.err == io.EOF {
			b.err = io.ErrUnexpectedEOF // nothing is not a gzip of nothing
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	n, b.err = b.plain.Read(p)
	if b.out += int64(n); b.out > freeRatio && b.out > maxRatio*b.in {
		b.err = fmt.Errorf("%d compressed bytes became %d, which no content does", b.in, b.out)
	}
	return n, b.err
}

func (b *gzipBody) Close() error { return b.body.Close() }

// counter counts what is read.
type counter struct {
	io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}
