package mirror

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror/download"
)

// source is a Mirror as its downloads see it. Their repositories were checked by remote.
type source struct{ m *Mirror }

var _ download.Source = source{}

// Blob implements download.Source.
func (s source) Blob(
	ctx context.Context, repo string, d digest.Digest, offset, expected int64,
) (io.ReadCloser, int64, error) {
	remote, err := s.m.remote(repo)
	if err != nil {
		return nil, 0, err
	}
	return s.m.upstream.Blob(ctx, remote, d, offset, expected)
}

// Range implements download.Source.
func (s source) Range(
	ctx context.Context, repo string, d digest.Digest, offset, length, size int64,
) (io.ReadCloser, error) {
	remote, err := s.m.remote(repo)
	if err != nil {
		return nil, err
	}
	return s.m.upstream.Range(ctx, remote, d, offset, length, size)
}

// Guess implements download.Source.
func (s source) Guess(repo string, d digest.Digest) int64 {
	if guess, ok := s.m.sizes.get(blobID{repo, d}); ok {
		return guess.size
	}
	return -1
}

// Note implements download.Source.
func (s source) Note(ctx context.Context, repo string) bool {
	return s.m.noteCredentials(ctx, s.m.viewOf(repo))
}

// Record implements download.Source.
func (s source) Record(ctx context.Context, slot download.Slot, at download.Unfinished) {
	s.m.remember(ctx, s.m.downloadKey(slot), at)
}

// Recall implements download.Source.
func (s source) Recall(ctx context.Context, slot download.Slot) (download.Unfinished, bool) {
	return recall[download.Unfinished](ctx, s.m, s.m.downloadKey(slot))
}

// Forget implements download.Source.
func (s source) Forget(ctx context.Context, slot download.Slot) {
	s.m.forget(ctx, s.m.downloadKey(slot))
}

// Ended implements download.Source.
func (s source) Ended(repo string, d digest.Digest, err error) error {
	return s.m.noteAbsent(repo+"@"+string(d), err, core.ErrBlobUnknown)
}

// Failed implements download.Source.
func (s source) Failed(err error) error { return failed(err, core.ErrBlobUnknown) }

// Downloads returns how many blobs are being downloaded, and how many clients wait for them
// or follow them.
func (m *Mirror) Downloads() (running, readers int) { return m.downloads.Count() }

// Running returns the downloads in flight.
func (m *Mirror) Running() []download.Running { return m.downloads.List() }
