package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// maxFruitless bounds the consecutive tries without a byte.
	maxFruitless = 4
	// firstPause is between the first fruitless tries; it doubles.
	firstPause = time.Second
	// maxPause bounds a pause that the upstream, or its breaker, requests.
	maxPause = 40 * time.Second
	// farBeyond and manyTimes bound a blob for which the upstream does not report a size: by how
	// many bytes, and by which factor, it may exceed its guess. A blob beyond both is taken for
	// an endless one.
	farBeyond = 64 << 20
	manyTimes = 2
)

// stream is a blob as the upstream sends it, resumed where it broke off. Its bytes
// are not verified. One goroutine reads it.
type stream struct {
	source Source
	log    *slog.Logger
	repo   string
	digest digest.Digest
	offset int64 // of the next byte
	size   int64 // as the upstream reports; -1: it does not
	guess  int64 // according to manifests, which may be wrong; -1: not known
	body   io.ReadCloser
	ended  int64 // the offset at which it ended before the guess
	// sum hashes the bytes up to the guess, if the upstream does not report the size. If the
	// guess is right the blob ends there, whatever follows. nil: not checked.
	sum       digest.Verifier
	fruitless int
	last      error // why the body broke off
}

// newStream begins at the first byte; a caller that starts at another one sets offset before
// open.
func newStream(c *Config, repo string, d digest.Digest) *stream {
	return &stream{
		source: c.Source, log: c.Log, repo: repo, digest: d,
		size: -1, guess: c.Source.Guess(repo, d), ended: -1,
	}
}

// expected returns the size of the blob, reported or guessed; -1: it is not known.
func (s *stream) expected() int64 {
	if s.size >= 0 {
		return s.size
	}
	return s.guess
}

// open asks the upstream once. No byte has been sent to a reader before, so a failure can be
// returned to the client.
func (s *stream) open(ctx context.Context) error {
	body, size, err := s.source.Blob(ctx, s.repo, s.digest, s.offset, s.expected())
	if err != nil {
		return err
	}
	if size >= 0 && s.size >= 0 && size != s.size {
		body.Close()
		return fmt.Errorf("%w: %s of %s has %d bytes, not the %d that it had before",
			upstream.ErrCorrupt, s.digest, s.repo, size, s.size)
	}
	if size == 0 && s.digest.Algorithm().FromBytes(nil) != s.digest {
		// No byte could be withheld: the header alone would be a clean and wrong answer.
		body.Close()
		return fmt.Errorf("%w: %s of %s has bytes, and the upstream says that it has none",
			upstream.ErrCorrupt, s.digest, s.repo)
	}
	if size >= 0 {
		s.size = size
	} else if s.size < 0 && s.guess >= 0 && s.offset == 0 {
		s.sum = s.digest.Verifier()
	}
	s.body = body
	return nil
}

// Read continues over as many connections as necessary. ctx must be the one of open. With a known
// size, its end is the end of the blob. Without one, it may be that of a broken connection: then
// an end before the guess is accepted when a further request from there returns nothing. The
// caller checks the digest.
func (s *stream) Read(ctx context.Context, p []byte) (int, error) {
	for {
		if s.size >= 0 && s.offset == s.size && s.body == nil {
			return 0, io.EOF
		}
		if s.body == nil {
			if err := s.reopen(ctx); err != nil {
				if s.offset == s.ended && ctx.Err() == nil && !passing(err) {
					return 0, io.EOF // there are no bytes after its end
				}
				return 0, err
			}
		}
		n, err := s.body.Read(p)
		s.offset += int64(n)
		if n > 0 {
			s.fruitless = 0
		}
		if s.guessed(p[:n]) {
			n -= int(s.offset - s.guess)
			s.offset, s.size = s.guess, s.guess
			s.Close()
			return n, io.EOF
		}
		switch {
		case s.size < 0 && s.guess >= 0 && s.offset > max(s.guess+farBeyond, manyTimes*s.guess):
			return 0, fmt.Errorf("%w: %s of %s goes on far beyond the %d bytes that its manifest says",
				upstream.ErrCorrupt, s.digest, s.repo, s.guess)
		case s.size >= 0 && s.offset > s.size:
			return 0, fmt.Errorf("%w: %s of %s goes on beyond its %d bytes", upstream.ErrCorrupt, s.digest, s.repo, s.size)
		case err == nil && n > 0:
			return n, nil
		case err == nil:
		case err == io.EOF && s.ends():
			return n, io.EOF
		case err == io.EOF:
			s.ended = s.offset
			s.interrupt(fmt.Errorf("%w: it ended %s of %s after %d bytes of %d",
				upstream.ErrUnavailable, s.digest, s.repo, s.offset, s.expected()))
		case ctx.Err() != nil || !passing(err):
			return n, err
		default:
			s.interrupt(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// guessed hashes the latest bytes, and reports whether the blob ends at the guess: some of the
// bytes may be after it.
func (s *stream) guessed(p []byte) bool {
	if s.sum == nil || s.size >= 0 {
		return false
	}
	over := max(0, s.offset-s.guess)
	_, _ = s.sum.Write(p[:max(0, int64(len(p))-over)]) // a hash never fails
	if s.offset < s.guess {
		return false
	}
	right := s.sum.Verified()
	s.sum = nil
	return right
}

// ends reports whether an end that the upstream has sent is the blob's.
func (s *stream) ends() bool {
	if s.size >= 0 {
		return s.offset == s.size
	}
	return s.offset >= s.guess || s.offset == s.ended
}

func (s *stream) interrupt(err error) {
	s.last = err
	s.Close()
	s.log.Info("blob broke off, the rest is requested again",
		"repository", s.repo, "digest", s.digest, "offset", s.offset, "error", err)
}

// reopen requests the rest, and again if that returns nothing.
func (s *stream) reopen(ctx context.Context) error {
	for {
		s.fruitless++
		if s.fruitless > maxFruitless {
			return s.last
		}
		if s.fruitless > 1 {
			if err := pause(ctx, s.fruitless-2, s.last); err != nil {
				return err
			}
		}
		err := s.open(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !passing(err) {
			return err
		}
		s.last = err
	}
}

// passing reports whether another try may succeed after err.
func passing(err error) bool {
	return errors.Is(err, upstream.ErrUnavailable) || errors.Is(err, upstream.ErrTimeout)
}

// pause waits between two tries: as long as the failure says, or longer with every try. It
// returns the failure when that is too long, because readers are waiting.
func pause(ctx context.Context, try int, failure error) error {
	wait := firstPause << try
	var e *upstream.Error
	if errors.As(failure, &e) && !e.Until.IsZero() {
		wait = max(wait, time.Until(e.Until))
	}
	if wait > maxPause {
		return failure
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// jump skips n bytes that came from elsewhere.
func (s *stream) jump(n int) {
	s.Close()
	s.offset += int64(n)
	s.fruitless, s.ended = 0, -1
}

// Close ends the connection. The stream can be read on, over another.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}
