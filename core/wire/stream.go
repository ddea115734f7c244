package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// stream sends a part of a blob that is positioned at the part's start; a length of -1
// means everything up to the end. It returns when everything was written, and panics
// otherwise (see Serve).
func (e *exchange) stream(blob core.Blob, part span, size int64) {
	n, fault, err := e.copyBlob(blob, part, size)
	e.sent += n
	if part.length >= 0 && n == part.length && fault == nil {
		// A client that has the last byte may close the connection while it is being
		// flushed.
		return
	}
	if err == nil && part.length >= 0 {
		fault = fmt.Errorf("%d bytes of %d: %w", n, part.length, io.ErrUnexpectedEOF)
		err = fault
	}
	if err == nil {
		return
	}
	e.err = fmt.Errorf("send %s: %w", e.req.Digest, err)
	e.logBroken(fault != nil || !connectionError(err))
	panic(http.ErrAbortHandler)
}

// copyBlob copies in the cheapest possible way. fault is an error of the blob itself.
//
// Caddy's writers bound the time without progress by reading at most so many bytes at
// a time, through a LimitedReader of their own, and the sendfile of package net looks
// through one LimitedReader and not through two. So a part that ends where the file
// does is passed as the bare file. A part that ends before is bounded by ours: the
// kernel sends it when Caddy is not in between, and it is copied when Caddy is.
func (e *exchange) copyBlob(blob core.Blob, part span, size int64) (n int64, fault, err error) {
	to, canReadFrom := e.w.(io.ReaderFrom)
	if file := fileOf(blob); file != nil && canReadFrom {
		if part.start+part.length == size && fileSize(file) == size {
			n, err = to.ReadFrom(file)
		} else {
			n, err = to.ReadFrom(&io.LimitedReader{R: file, N: part.length})
		}
		return n, nil, err
	}
	out := &flusher{Writer: e.w, control: http.NewResponseController(e.w), first: &e.first}
	e.first = time.Time{} // the header is there, and the first byte may take long
	// An empty answer would consist of the header alone, which would look like a clean
	// end.
	if part.length != 0 && fileOf(blob) == nil && !ready(blob) {
		// Clients give up after some seconds without a header, and a Range may begin
		// where a download arrives in minutes. The blob is open, so this is the answer.
		_ = out.control.Flush() // Write meets a failing connection
	}
	// A download in progress writes its bytes without a copy in between.
	if whole, ok := blob.(io.WriterTo); ok && (part.length < 0 || part.start+part.length == size) {
		if n, err = whole.WriteTo(out); out.err == nil {
			fault = err
		}
		return n, fault, err
	}
	from := &source{Reader: blob}
	var reader io.Reader = from
	if part.length >= 0 {
		reader = io.LimitReader(from, part.length)
	}
	n, err = io.Copy(out, reader)
	return n, from.err, err
}

// ready reports whether the first byte of a blob is available, so that it can share a
// packet with the header.
func ready(blob core.Blob) bool {
	r, ok := blob.(interface{ Ready() bool })
	return ok && r.Ready()
}

// logBroken logs a broken body by whose fault it is. A client that leaves, or reads
// nothing for as long as the server in front allows, is not a fault.
func (e *exchange) logBroken(ours bool) {
	if e.opts.Log == nil {
		return
	}
	level := slog.LevelDebug
	if ours && e.r.Context().Err() == nil {
		level = slog.LevelError
	}
	e.opts.Log.LogAttrs(e.r.Context(), level, "body broke",
		slog.String("operation", e.req.Kind.String()),
		slog.String("repository", e.req.Repo),
		slog.Int64("sent", e.sent),
		slog.Any("error", e.err))
}

// connectionError reports whether err is from writing to a client that left or
// stalled.
func connectionError(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed)
}

// fileOf returns the blob's file, if it is one of known size.
func fileOf(blob core.Blob) *os.File {
	fb, ok := blob.(core.FileBlob)
	if !ok || blob.Descriptor().Size < 0 {
		return nil
	}
	return fb.File()
}

// fileSize returns -1 if the size is not known. A bare file is bounded only by its own
// end, which must be where the header says.
func fileSize(file *os.File) int64 {
	info, err := file.Stat()
	if err != nil {
		return -1
	}
	return info.Size()
}

// flusher forwards bytes as they come: a blob that is not a file may be a download in
// progress, whose first byte the client gets when we do.
type flusher struct {
	io.Writer
	control *http.ResponseController
	err     error      // of the connection
	first   *time.Time // when the first byte was written
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	if f.first.IsZero() && n > 0 {
		*f.first = time.Now()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		f.err = err
		return n, err
	}
	return n, nil
}

// source remembers the error of the blob, to distinguish it from one of the
// connection.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
