package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// bounded is a transport whose answers end with an error when the registry sends nothing for
// stallLimit in the middle of a body. Time in which nobody reads does not count: the disk here may
// be slow.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	answer, err := b.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	watched := &body{ReadCloser: answer.Body, cancel: cancel, from: r.URL.Host}
	watched.timer = time.AfterFunc(stallLimit, watched.stall)
	watched.timer.Stop() // until the first read
	answer.Body = watched
	return answer, nil
}

// body is the body of an answer. Its methods are for one goroutine.
type body struct {
	io.ReadCloser
	cancel  context.CancelFunc // ends a read that waits
	from    string             // the host, for the error
	timer   *time.Timer        // runs during a read
	stalled atomic.Bool
}

func (b *body) stall() {
	b.stalled.Store(true)
	b.cancel()
}

// Read implements io.Reader. Errors also: that nothing came for stallLimit.
func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(stallLimit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && b.stalled.Load() {
		err = fmt.Errorf("%s sent nothing for %s in the middle of an answer; import again to go on", b.from, stallLimit)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.timer.Stop()
	defer b.cancel()
	return b.ReadCloser.Close()
}
