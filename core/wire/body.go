package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/eblume/caddy-registry/core"
)

// append appends the request's body to an upload, where its Content-Range says or, if
// there is none, at the end. If it returns no error, the whole body is held: as many
// bytes as the headers announced.
func (e *exchange) append(upload core.Upload) error {
	at, length := int64(wherever), e.r.ContentLength
	if field := e.r.Header.Get("Content-Range"); field != "" {
		part, err := parseContentRange(field)
		if err != nil {
			return err
		}
		if length >= 0 && length != part.length {
			return fmt.Errorf("%w: Content-Length is %d, Content-Range has %d bytes", core.ErrSizeInvalid, length, part.length)
		}
		at, length = part.start, part.length
	}
	body := &chunk{body: e.r.Body, left: length}
	n, err := upload.Append(e.r.Context(), at, body)
	switch {
	case body.err != nil:
		return bodyError(body.err)
	case err != nil:
		return fmt.Errorf("append to upload %s: %w", upload.ID(), err)
	case length >= 0 && n != length:
		return fmt.Errorf("%w: %d bytes of %d were taken", core.ErrSizeInvalid, n, length)
	}
	e.bodyRead = true
	return nil
}

// chunk is a request's body that is as long as was announced, or an error. The server
// enforces Content-Length, but not the Content-Range of a chunked body; an extra byte
// would be stored where the next chunk belongs.
type chunk struct {
	body io.Reader
	left int64 // -1: not announced
	err  error // the body's own error, which the client caused
}

// Announced is how many bytes are to come, or -1. A body that is too large can be
// refused before its first byte.
func (c *chunk) Announced() int64 { return c.left }

func (c *chunk) Read(p []byte) (int, error) {
	if c.left < 0 {
		n, err := c.body.Read(p)
		return n, c.keep(err)
	}
	if c.left == 0 {
		return 0, c.end()
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.body.Read(p)
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, c.keep(err)
}

// end checks that no byte follows the last one.
func (c *chunk) end() error {
	var one [1]byte
	n, err := io.ReadFull(c.body, one[:])
	if n > 0 {
		return c.keep(errTooLong)
	}
	return c.keep(err)
}

func (c *chunk) keep(err error) error {
	if err != nil && err != io.EOF {
		c.err = err
	}
	return err
}

var errTooLong = errors.New("it goes on behind its Content-Range")

// bodyError is a client's failure to send its request: it left, stalled, or sent
// another length than it announced or than the server in front allows.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fmt.Errorf("%w: %w", errBodyTooLarge, err)
	}
	return fmt.Errorf("%w: %w", errBodyInvalid, err)
}
