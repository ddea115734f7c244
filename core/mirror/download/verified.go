package download

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
)

// verified is a stream for one reader, hashed on its way. It keeps one byte back: the last byte
// is returned when the digest of the whole is verified.
type verified struct {
	ctx      context.Context
	body     *stream
	verifier digest.Verifier
	last     byte
	has      bool // last was read and not returned yet
	whole    bool // the digest is right
}

func newVerified(ctx context.Context, body *stream) *verified {
	return &verified{ctx: ctx, body: body, verifier: body.digest.Verifier()}
}

// skip begins the stream at from, with the bytes before taken from held.
func (v *verified) skip(held io.ReaderAt, from int64) error {
	if from == 0 {
		return nil
	}
	n, err := io.Copy(v.verifier, io.NewSectionReader(held, 0, from))
	if err == nil && n < from {
		err = io.ErrUnexpectedEOF
	}
	v.body.offset = from
	return err
}

// Read returns bytes that were verified, or cannot be the end.
func (v *verified) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for !v.whole {
		n, err := v.body.Read(v.ctx, p)
		n = v.hold(p, n)
		switch {
		case err == io.EOF && v.verifier.Verified():
			v.whole = true
		case err == io.EOF:
			err = fmt.Errorf("%w: the bytes of %s have another digest", upstream.ErrCorrupt, v.body.digest)
			return 0, v.body.source.Failed(err)
		case err != nil:
			return 0, v.body.source.Failed(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	if !v.has {
		return 0, io.EOF
	}
	p[0], v.has = v.last, false
	return 1, nil
}

// hold hashes the n bytes in p and exchanges the last one for the one kept back.
func (v *verified) hold(p []byte, n int) int {
	if n == 0 {
		return 0
	}
	_, _ = v.verifier.Write(p[:n]) // a hash never fails
	last := p[n-1]
	if v.has {
		copy(p[1:n], p)
		p[0] = v.last
	} else {
		n--
	}
	v.last, v.has = last, true
	return n
}

func (v *verified) Close() error { return v.body.Close() }
