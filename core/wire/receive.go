package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/eblume/caddy-registry/core"
)

const (
	// firstPiece is how much memory is allocated before a manifest's first byte has
	// arrived: most manifests are smaller, and an announced length alone does not
	// allocate more.
	firstPiece = 16 << 10
	// manifestTime and manifestRate, in bytes a second, bound how long a manifest may
	// take to arrive: for the server in front a byte now and then is progress. The rate
	// is that of a modem, the time that of the slowest handshake.
	manifestTime = 30 * time.Second
	manifestRate = 8 << 10
)

// errBodySlow is the error for a body that took longer than its size allows.
var errBodySlow = &core.Error{Code: "SIZE_INVALID", Message: "request body did not arrive in time"}

// readManifest reads the body, all of it or none. Memory is taken as bytes arrive, and
// the size that the client announced is reserved until release.
func (e *exchange) readManifest() (data []byte, release func(), err error) {
	length := e.r.ContentLength
	if length > core.MaxManifestSize {
		return nil, nil, core.ErrManifestTooLarge
	}
	most := length
	if length < 0 {
		most = core.MaxManifestSize
	}
	release, err = e.opts.Manifests.Acquire(e.r.Context(), e.opts.Caller.Principal(), most)
	if err != nil {
		return nil, nil, err
	}
	// Only connections of tests have no deadlines.
	deadlines := http.NewResponseController(e.w)
	_ = deadlines.SetReadDeadline(time.Now().Add(manifestTime + time.Duration(most/manifestRate)*time.Second))
	if data, err = readAll(e.r.Body, most, length >= 0); err != nil {
		release()
		return nil, nil, err
	}
	e.bodyRead = true
	_ = deadlines.SetReadDeadline(time.Time{})
	return data, release, nil
}

// readAll reads at most most bytes, or exactly that many, in a buffer that grows with
// what arrives.
func readAll(r io.Reader, most int64, exactly bool) ([]byte, error) {
	data := make([]byte, 0, min(most, firstPiece))
	for {
		if int64(len(data)) == most {
			return data, endOf(r, exactly)
		}
		if len(data) == cap(data) {
			data = append(make([]byte, 0, min(most, 2*int64(cap(data)))), data...)
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case err == io.EOF && (!exactly || int64(len(data)) == most):
			if cap(data) > len(data)+len(data)/8 {
				data = bytes.Clone(data) // a cache that keeps it counts its length
			}
			return data, nil
		case err == io.EOF:
			return nil, bodyError(io.ErrUnexpectedEOF)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: %d bytes came", errBodySlow, len(data))
		case err != nil:
			return nil, bodyError(err)
		}
	}
}

// endOf checks that a body of unknown length ends here. The server enforces known
// lengths.
func endOf(r io.Reader, exactly bool) error {
	if exactly {
		return nil
	}
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return core.ErrManifestTooLarge
	case err != io.EOF:
		return bodyError(err)
	}
	return nil
}
