package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror/download"
	"github.com/eblume/caddy-registry/core/upstream"
)

// maxLooks bounds how often a blob is looked up again because it was stored, removed or given up
// between two lookups.
const maxLooks = 4

// Stat implements core.Reader. A blob that is not held is described by the manifests that list
// it, if the held ones agree, else by the upstream. Other errors as of Manifest.
func (m *Mirror) Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	remote, seen, err := m.reads(ctx, repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	held, err := m.local.Stat(ctx, repo, d)
	if err == nil && m.expect(ctx, repo, d, held.Size) {
		held, err = m.local.Stat(ctx, repo, d)
	}
	size := int64(-1)
	if err == nil {
		size = held.Size
	}
	if hidden := m.reveal(ctx, seen, repo+"@"+string(d), err == nil, core.ErrBlobUnknown, lookAtBlob(remote, d, size)); hidden != nil {
		return core.Descriptor{}, hidden
	}
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
	size, ok := m.guessed(ctx, repo, d)
	if !ok {
		if size, err = m.attest(ctx, repo, d); err != nil {
			return core.Descriptor{}, err
		}
		core.From(ctx, core.SourceUpstream)
	}
	return descriptor(d, size), nil
}

func descriptor(d digest.Digest, size int64) core.Descriptor {
	return core.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size}
}

// attest asks the upstream whether repo has a blob, once for all waiting callers.
func (m *Mirror) attest(ctx context.Context, repo string, d digest.Digest) (size int64, err error) {
	remote, err := m.remote(repo)
	if err != nil {
		return 0, err
	}
	noun := repo + "@" + string(d)
	return together(ctx, m, "mirror.attest", "attest "+noun, func(ctx context.Context) (int64, error) {
		size, err := m.upstream.Attest(ctx, remote, d, -1)
		if err != nil {
			return 0, m.noteAbsent(noun, err, core.ErrBlobUnknown)
		}
		return size, nil
	})
}

// Blob implements core.Reader. A blob that is not held is downloaded once for all readers: the
// result follows the download, and is a Seeker if the size is known. It ends in an error, never
// in io.EOF, when the content does not match the digest. Other errors as of Manifest.
func (m *Mirror) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	remote, seen, err := m.reads(ctx, repo)
	if err != nil {
		return nil, err
	}
	for range maxLooks {
		held, err := m.local.Blob(ctx, repo, d)
		if err == nil && m.expect(ctx, repo, d, held.Descriptor().Size) {
			held.Close()
			held, err = m.local.Blob(ctx, repo, d)
		}
		size := int64(-1)
		if err == nil {
			size = held.Descriptor().Size
		}
		if hidden := m.reveal(ctx, seen, repo+"@"+string(d), err == nil, core.ErrBlobUnknown, lookAtBlob(remote, d, size)); hidden != nil {
			if err == nil {
				held.Close()
			}
			return nil, hidden
		}
		if err == nil || !unheld(err) {
			return held, err
		}
		f, err := m.follow(ctx, seen, d)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		blob, err := f.Open()
		if !download.Again(err) {
			core.From(ctx, core.SourceUpstream)
			return blob, err
		}
	}
	return nil, fmt.Errorf("%w: %s of %s comes and goes", core.ErrUnavailable, d, repo)
}

// follow joins the download of a blob, or begins it. If another repository has the bytes, it asks
// the upstream whether this one has the blob too, and links it. It returns nil without an error
// if the caller must look the blob up again.
func (m *Mirror) follow(ctx context.Context, seen *view, d digest.Digest) (*download.Follower, error) {
	repo, slot := seen.repo, m.slot(ctx, seen, d)
	if f := m.downloads.Join(ctx, repo, slot); f != nil {
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
		if f := m.downloads.Start(ctx, repo, slot); f != nil {
			return f, nil
		}
	}
	linked, err := m.link(ctx, repo, d, slot)
	if err != nil {
		return nil, err
	}
	if f := m.downloads.Join(ctx, repo, slot); f != nil || linked {
		return f, nil
	}
	return m.downloads.Start(ctx, repo, slot), nil
}

// link asks the upstream whether repo has a blob whose bytes are held, or being downloaded, for
// another repository, and gives repo a share of them. It asks once for all waiting callers. It
// returns false without an error if the bytes were removed meanwhile, or if the upstream's answer
// does not prove that it is about this blob: then repo needs its own download.
func (m *Mirror) link(ctx context.Context, repo string, d digest.Digest, slot download.Slot) (bool, error) {
	remote, err := m.remote(repo)
	if err != nil {
		return false, err
	}
	noun := repo + "@" + string(d)
	return together(ctx, m, "mirror.link", "link "+noun, func(ctx context.Context) (bool, error) {
		// Another flight may have ended since the lookup.
		if _, err := m.local.Stat(ctx, repo, d); err == nil || m.downloads.Has(repo, slot) {
			return true, nil
		}
		if err := m.knownAbsent(noun, core.ErrBlobUnknown); err != nil {
			return false, err
		}
		size, running := m.downloads.Size(slot)
		if !running {
			size = m.heldSize(ctx, repo, d)
		}
		_, err := m.upstream.Attest(ctx, remote, d, size)
		if errors.Is(err, upstream.ErrCorrupt) && !running {
			return false, nil
		}
		if err != nil {
			return false, m.noteAbsent(noun, err, core.ErrBlobUnknown)
		}
		if m.downloads.Add(repo, slot) {
			return true, nil
		}
		holder, err := m.holder(ctx, repo, d)
		if holder == "" || err != nil {
			return false, err
		}
		_, err = m.local.Mount(ctx, repo, holder, d)
		if err != nil && unheld(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// slot returns which download of a blob a repository takes part in. A repository for which
// credentials are about to be used already counts as hidden.
func (m *Mirror) slot(ctx context.Context, seen *view, d digest.Digest) download.Slot {
	if known := seen.rights(ctx); known.hidden(m.settings.Load().MaxStale) || m.credentialed && !known.ok {
		return download.Slot{Repo: seen.repo, Digest: d}
	}
	return download.Slot{Digest: d}
}

// holder is another repository of the store, of any mirror, that holds the blob and is
// not hidden, or empty.
func (m *Mirror) holder(ctx context.Context, repo string, d digest.Digest) (string, error) {
	for name, err := range m.local.Holders(ctx, d) {
		if err != nil {
			return "", err
		}
		if name != repo && !m.hiddenNow(ctx, name) {
			return name, nil
		}
	}
	return "", nil
}

// heldSize is how many bytes a blob has that another repository holds, or -1.
func (m *Mirror) heldSize(ctx context.Context, repo string, d digest.Digest) int64 {
	holder, err := m.holder(ctx, repo, d)
	if holder == "" || err != nil {
		return -1
	}
	held, err := m.local.Stat(ctx, holder, d)
	if err != nil {
		return -1
	}
	return held.Size
}
