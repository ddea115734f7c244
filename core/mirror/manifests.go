package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Resolve implements core.Reader. A HEAD for a manifest that is not held fetches it: the client's
// next request asks for it.
func (m *Mirror) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	found, err := m.Manifest(ctx, repo, ref)
	return found.Descriptor, err
}

// Manifest implements core.Reader. Besides the errors of core.Reader it returns, with nothing
// held: ErrUnauthorized or ErrDenied when the caller may not fetch, ErrDenied when the upstream
// refuses; ErrTooManyRequests, ErrUpstream, ErrUpstreamTimeout when it cannot be asked, with
// core.Retry; ErrManifestInvalid for a manifest that no current client can use.
func (m *Mirror) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	if core.Looks(ctx) {
		return m.lookAt(ctx, repo, ref)
	}
	remote, seen, err := m.reads(ctx, repo)
	if err != nil {
		return core.Manifest{}, err
	}
	held := m.holds(ctx, seen, ref)
	if m.credentialed && !held {
		// Before credentials fetch anything.
		recorded := seen.rights(ctx).ok
		err := m.reveal(ctx, seen, nounOf(repo, ref), recorded, core.ErrManifestUnknown, lookAtManifest(remote, ref))
		if err != nil {
			return core.Manifest{}, err
		}
	}
	var found core.Manifest
	if ref.Digest != "" {
		found, err = m.byDigest(ctx, repo, ref.Digest)
	} else {
		found, err = m.byTag(ctx, repo, ref.Tag)
	}
	switch known := seen.rights(ctx); {
	case err == nil && !m.credentialed && !known.ok: // all of it is public
	case err == nil:
		exactly := core.Reference{Digest: found.Descriptor.Digest}
		err = m.reveal(ctx, seen, nounOf(repo, exactly), true, core.ErrManifestUnknown, lookAtManifest(remote, exactly))
	case known.secret():
		err = cmp.Or(m.hide(ctx, repo), err) // not even why
	}
	if err != nil {
		return core.Manifest{}, err
	}
	m.noteSizes(repo, found)
	m.keeper.Pulled(repo, found.Descriptor.Digest, ref.Tag, core.AccessFrom(ctx).Caller)
	return found, nil
}

// holds reports, where it matters, whether the content of ref was held before the request.
func (m *Mirror) holds(ctx context.Context, seen *view, ref core.Reference) bool {
	if !m.credentialed || seen.rights(ctx).within(rightsAge) {
		return true // the record decides
	}
	repo := seen.repo
	if ref.Tag != "" {
		held, err := m.heldTag(ctx, repo, ref.Tag)
		return err == nil && held.ok
	}
	_, err := m.held(ctx, repo, ref.Digest)
	return err == nil
}

// byDigest returns a manifest by its digest. It never changes, so a held one is not checked with
// the upstream.
func (m *Mirror) byDigest(ctx context.Context, repo string, d digest.Digest) (core.Manifest, error) {
	held, err := m.held(ctx, repo, d)
	if err == nil || !unheld(err) {
		return held, err
	}
	noun := repo + "@" + string(d)
	if err := m.knownAbsent(noun, core.ErrManifestUnknown); err != nil {
		return core.Manifest{}, err
	}
	if err := mayFetch(ctx, noun); err != nil {
		return core.Manifest{}, err
	}
	got, err := together(ctx, m, "mirror.manifest", noun, func(ctx context.Context) (heldTag, error) {
		// Another flight may have fetched it since the lookup.
		if held, err := m.held(ctx, repo, d); err == nil {
			return heldTag{manifest: held}, nil
		}
		if found, ok := m.sharedManifest(ctx, repo, d); ok {
			m.learn(ctx, repo, &lesson{found: found, fresh: true})
			return heldTag{manifest: found, from: core.SourceShared}, nil
		}
		found, err := m.fetch(ctx, repo, core.Reference{Digest: d}, "")
		if err != nil {
			return heldTag{}, m.noteAbsent(noun, err, core.ErrManifestUnknown)
		}
		return heldTag{manifest: found, from: core.SourceUpstream}, nil
	})
	if err != nil {
		return core.Manifest{}, err
	}
	return got.served(ctx, noun), nil
}

// fetch gets a manifest from the upstream and queues it for the store, with tag naming it unless
// tag is empty. It does not wait for the store, and a manifest that cannot be stored is still
// served. Errors: those of the upstream.
func (m *Mirror) fetch(ctx context.Context, repo string, ref core.Reference, tag string) (core.Manifest, error) {
	remote, err := m.remote(repo)
	if err != nil {
		return core.Manifest{}, err
	}
	asked := time.Now()
	answer, err := m.upstream.Manifest(ctx, remote, ref)
	if err != nil {
		if ref.Tag != "" && !m.credentialed && errors.Is(err, upstream.ErrNotFound) {
			m.shareTag(ctx, repo, tag, "", asked)
		}
		return core.Manifest{}, err
	}
	defer answer.Release()
	found := core.Manifest{Descriptor: answer.Descriptor, Bytes: answer.Bytes}
	seen := m.viewOf(repo)
	if !answer.Anonymous && !m.noteCredentials(ctx, seen) {
		return found, nil
	}
	m.learn(ctx, repo, &lesson{found: found, tag: tag, at: time.Now(), fresh: true})
	if m.shared != nil && m.shareable(ctx, seen, answer) {
		m.shareManifest(ctx, repo, found)
		if tag != "" {
			m.shareTag(ctx, repo, tag, found.Descriptor.Digest, asked)
		}
	}
	return found, nil
}

func nounOf(repo string, ref core.Reference) string {
	if ref.Digest != "" {
		return repo + "@" + string(ref.Digest)
	}
	return repo + ":" + ref.Tag
}

// knownAbsent returns missing if the upstream answered "not found" a moment ago.
func (m *Mirror) knownAbsent(noun string, missing *core.Error) error {
	until, ok := m.absent.get(noun)
	if !ok {
		return nil
	}
	if !time.Now().Before(until) {
		m.absent.drop(noun)
		return nil
	}
	return fmt.Errorf("%w: %s: %w a moment ago", missing, noun, upstream.ErrNotFound)
}

// noteAbsent remembers that something does not exist, and turns the upstream's error into a
// client's error.
func (m *Mirror) noteAbsent(noun string, err error, missing *core.Error) error {
	err = failed(err, missing)
	if errors.Is(err, missing) {
		m.absent.set(noun, time.Now().Add(m.settings.Load().NotFoundTTL))
	}
	return fmt.Errorf("%s: %w", noun, err)
}

// blobID is a blob, or a manifest, of a repository.
type blobID struct {
	repo   string
	digest digest.Digest
}
