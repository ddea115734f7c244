package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// maxLooks bounds how often a blob is looked for again because it came, went or was
// given up between two looks.
const maxLooks = 4

// Stat implements core.Reader. A blob that is not held is described by the manifest
// that lists it, else by the upstream. Other errors as of Manifest.
func (m *Mirror) Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	if _, err := m.remote(repo); err != nil {
		return core.Descriptor{}, err
	}
	held, err := m.local.Stat(ctx, repo, d)
	if err == nil || !unheld(err) {
		return held, err
	}
	noun := repo + "@" + string(d)
	if err := m.knownAbsent(noun, core.ErrBlobUnknown); err != nil {
		return core.Descriptor{}, err
	}
	if err := mayFetch(ctx, noun); err != nil {
		return core.Descriptor{}, err
	}
	size, ok := m.sizes.get(blobID{repo, d})
	if !ok {
		if size, err = m.attest(ctx, repo, d); err != nil {
			return core.Descriptor{}, err
		}
	}
	return descriptor(d, size), nil
}

func descriptor(d digest.Digest, size int64) core.Descriptor {
	return core.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size}
}

// attest asks the upstream whether repo has a blob, once for all who wait.
func (m *Mirror) attest(ctx context.Context, repo string, d digest.Digest) (size int64, err error) {
	remote, err := m.remote(repo)
	if err != nil {
		return 0, err
	}
	noun := repo + "@" + string(d)
	return together(ctx, m, "attest "+noun, func(ctx context.Context) (int64, error) {
		size, err := m.upstream.Attest(ctx, remote, d)
		if err != nil {
			return 0, m.noteAbsent(noun, err, core.ErrBlobUnknown)
		}
		return size, nil
	})
}

// Blob implements core.Reader. A blob that is not held is downloaded for everybody:
// the result follows the download, and is a Seeker if the size is known. It ends in
// an error, never in io.EOF, when the whole is not what its digest says.
// Other errors as of Manifest.
func (m *Mirror) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	if _, err := m.remote(repo); err != nil {
		return nil, err
	}
	for range maxLooks {
		held, err := m.local.Blob(ctx, repo, d)
		if err == nil || !unheld(err) {
			return held, err
		}
		f, err := m.follow(ctx, repo, d)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		blob, err := f.open()
		if !errors.Is(err, errUnread) && !errors.Is(err, errHeld) {
			return blob, err
		}
	}
	return nil, fmt.Errorf("%w: %s of %s comes and goes", core.ErrUnavailable, d, repo)
}

// follow joins the download of a blob, or begins it. Where another repository has
// the bytes it asks the upstream whether this one has the blob too, and links it;
// nil without an error means: look again.
func (m *Mirror) follow(ctx context.Context, repo string, d digest.Digest) (*follower, error) {
	if f := m.downloads.join(ctx, repo, d, false); f != nil {
		return f, nil
	}
	noun := repo + "@" + string(d)
	if err := m.knownAbsent(noun, core.ErrBlobUnknown); err != nil {
		return nil, err
	}
	if err := mayFetch(ctx, noun); err != nil {
		return nil, err
	}
	holder, err := m.holder(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	if holder == "" {
		if f := m.downloads.start(ctx, m, repo, d); f != nil {
			return f, nil
		}
	}
	if _, err := m.attest(ctx, repo, d); err != nil {
		return nil, err
	}
	if f := m.downloads.join(ctx, repo, d, true); f != nil {
		return f, nil
	}
	if holder == "" {
		// The download has ended meanwhile.
		if holder, err = m.holder(ctx, repo, d); err != nil {
			return nil, err
		}
	}
	if holder != "" {
		_, err := m.local.Mount(ctx, repo, holder, d)
		if err == nil || !unheld(err) {
			return nil, err
		}
	}
	return m.downloads.start(ctx, m, repo, d), nil
}

// holder is another repository of the store, of any mirror, that holds the blob, or
// empty.
func (m *Mirror) holder(ctx context.Context, repo string, d digest.Digest) (string, error) {
	for name, err := range m.local.Holders(ctx, d) {
		if err != nil {
			return "", err
		}
		if name != repo {
			return name, nil
		}
	}
	return "", nil
}
