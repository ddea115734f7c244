package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// RefusePush is the answer to every push to a mirror, by its name and where to push
// instead. It is a core.ErrDenied.
func RefusePush(name, to string) error {
	return fmt.Errorf("%w: %s is a pull-through cache, to which nothing can be pushed; push to %s", core.ErrDenied, name, to)
}

func (m *Mirror) readOnly() error { return RefusePush(m.name, m.settings.Load().PushTo) }

// PutManifest implements core.Writer by refusing. Errors: ErrDenied.
func (m *Mirror) PutManifest(_ context.Context, _ string, _ core.ManifestPut) (core.ManifestResult, error) {
	return core.ManifestResult{}, m.readOnly()
}

// AdmitManifest implements core.Admitter by refusing. Errors: ErrDenied.
func (m *Mirror) AdmitManifest(_ context.Context, _ string) error { return m.readOnly() }

// Mount implements core.Writer by refusing. Errors: ErrDenied.
func (m *Mirror) Mount(_ context.Context, _, _ string, _ digest.Digest) (core.Descriptor, error) {
	return core.Descriptor{}, m.readOnly()
}

// NewUpload implements core.Writer by refusing. Errors: ErrDenied.
func (m *Mirror) NewUpload(_ context.Context, _ string, _ digest.Algorithm) (core.Upload, error) {
	return nil, m.readOnly()
}

// Upload implements core.Writer by refusing, so that no client reaches the upload that a download
// writes to. Errors: ErrDenied.
func (m *Mirror) Upload(_ context.Context, _, _ string) (core.Upload, error) {
	return nil, m.readOnly()
}

// DeleteTag implements core.Deleter: it forgets what is held of a tag, and a remembered "not
// found". The next read asks the upstream. Errors: as core.Deleter.
func (m *Mirror) DeleteTag(ctx context.Context, repo, tag string) error {
	if _, err := m.remote(repo); err != nil {
		return err
	}
	noun := repo + ":" + tag
	for _, other := range m.namesakes() {
		other.flights.Forget(noun) // later callers do not join an earlier request
	}
	m.present(noun)
	if err := m.unchecked(ctx, repo, tag); err != nil {
		return err
	}
	m.askAgain(ctx, repo)
	m.unlist(ctx, tagsKey(repo))
	return m.local.DeleteTag(ctx, repo, tag)
}

// DeleteManifest implements core.Deleter: it forgets a manifest and the tags that
// name it. Their blobs go with the collector. Errors: as core.Deleter.
func (m *Mirror) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	if _, err := m.remote(repo); err != nil {
		return err
	}
	noun := repo + "@" + string(d)
	for _, other := range m.namesakes() {
		other.flights.Forget(noun)
		other.forgetSizes(repo)
	}
	m.present(noun)
	if err := m.settle(ctx, repo); err != nil {
		return err
	}
	m.unlist(ctx, referrersKey(repo, d))
	m.unlist(ctx, tagsKey(repo)) // as Purge and DeleteTag do
	m.unshare(ctx, repo, core.Reference{Digest: d})
	m.askAgain(ctx, repo)
	return m.local.DeleteManifest(ctx, repo, d)
}

// DeleteBlob implements core.Deleter. Errors: as core.Deleter.
func (m *Mirror) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	if _, err := m.remote(repo); err != nil {
		return err
	}
	m.present(repo + "@" + string(d))
	if err := m.settle(ctx, repo); err != nil {
		return err
	}
	err := m.local.DeleteBlob(ctx, repo, d)
	if errors.Is(err, core.ErrNameUnknown) {
		return fmt.Errorf("%w: %s of %s", core.ErrBlobUnknown, d, repo) // it may hold blobs and no manifest yet
	}
	return err
}
