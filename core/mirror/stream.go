package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// maxFruitless bounds the tries, one after the other, that bring no byte.
	maxFruitless = 4
	// firstPause is between the first fruitless tries; it doubles.
	firstPause = time.Second
	// maxPause bounds a pause that the upstream, or its breaker, asks for.
	maxPause = 40 * time.Second
)

// stream is a blob as the upstream sends it, resumed where it broke off. Its bytes
// are not verified. One goroutine reads it.
type stream struct {
	mirror    *Mirror
	repo      string
	remote    string
	digest    digest.Digest
	offset    int64 // of the next byte
	size      int64 // -1: not known
	body      io.ReadCloser
	fruitless int
	last      error // why the body broke off
}

// newStream begins at the first byte; whoever wants another sets offset before open.
func newStream(m *Mirror, repo string, d digest.Digest) *stream {
	s := &stream{mirror: m, repo: repo, digest: d, size: -1}
	s.remote, _ = m.remote(repo) // every method of Mirror has checked it
	if size, ok := m.sizes.get(blobID{repo, d}); ok {
		s.size = size
	}
	return s
}

// open asks the upstream once. Before it, nothing has been promised to anybody, so a
// failure is an answer.
func (s *stream) open(ctx context.Context) error {
	body, size, err := s.mirror.upstream.Blob(ctx, s.remote, s.digest, s.offset)
	if err != nil {
		return err
	}
	if size >= 0 && s.size >= 0 && size != s.size {
		body.Close()
		return fmt.Errorf("%w: %s of %s has %d bytes, not the %d that were announced", upstream.ErrCorrupt, s.digest, s.repo, size, s.size)
	}
	if size >= 0 {
		s.size = size
	}
	s.body = body
	return nil
}

// Read reads on, over as many connections as it takes. ctx must be the one of open.
// Its end is the blob's, as far as the size tells.
func (s *stream) Read(ctx context.Context, p []byte) (int, error) {
	for {
		if s.body == nil {
			if err := s.reopen(ctx); err != nil {
				return 0, err
			}
		}
		n, err := s.body.Read(p)
		s.offset += int64(n)
		if n > 0 {
			s.fruitless = 0
		}
		switch {
		case s.size >= 0 && s.offset > s.size:
			return 0, fmt.Errorf("%w: %s of %s goes on beyond its %d bytes", upstream.ErrCorrupt, s.digest, s.repo, s.size)
		case err == nil && n > 0:
			return n, nil
		case err == nil:
		case err == io.EOF && (s.size < 0 || s.offset == s.size):
			return n, io.EOF
		case err == io.EOF:
			s.interrupt(fmt.Errorf("%w: it ended %s of %s after %d bytes of %d", upstream.ErrUnavailable, s.digest, s.repo, s.offset, s.size))
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

func (s *stream) interrupt(err error) {
	s.last = err
	s.Close()
	s.mirror.log.Info("blob broke off, it is asked for again", "repository", s.repo, "digest", s.digest, "offset", s.offset, "error", err)
}

// reopen asks for the rest, and again if that brings nothing.
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

// passing tells the failures that another try may not meet.
func passing(err error) bool {
	return errors.Is(err, upstream.ErrUnavailable) || errors.Is(err, upstream.ErrTimeout)
}

// pause waits between two tries: as long as the failure says, or longer with every
// try. It returns the failure when that is too long, for who reads is waiting.
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

// Close ends the connection. The stream can be read on, over another.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}
