package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// ShowsManifest asks the upstream whether it shows a manifest of repo to anonymous callers. An
// import asks before it stores a manifest from elsewhere, which is then as good as fetched. It does
// not count as a pull if the upstream answers a HEAD. Errors: core.ErrDenied for a name that is not
// allowed here; those of an upstream that cannot be asked.
func (m *Mirror) ShowsManifest(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	return m.shows(ctx, repo, core.ErrManifestUnknown, func(remote string) look {
		return lookAtManifest(remote, core.Reference{Digest: d})
	})
}

// ShowsBlob is ShowsManifest for a blob of size bytes.
func (m *Mirror) ShowsBlob(ctx context.Context, repo string, d digest.Digest, size int64) (bool, error) {
	return m.shows(ctx, repo, core.ErrBlobUnknown, func(remote string) look {
		return lookAtBlob(remote, d, size)
	})
}

func (m *Mirror) shows(
	ctx context.Context, repo string, missing *core.Error, at func(remote string) look,
) (bool, error) {
	remote, err := m.remote(repo)
	if err != nil {
		return false, err
	}
	if !m.allows(repo) {
		return false, m.notAllowed(repo)
	}
	switch err := at(remote)(ctx, m.nobody); {
	case err == nil:
		return true, nil
	case refused(err), errors.Is(err, upstream.ErrCorrupt):
		return false, nil
	default:
		return false, failed(err, missing)
	}
}

func (m *Mirror) notAllowed(repo string) error {
	return fmt.Errorf("%w: the mirror of %s is not allowed to serve %s", core.ErrDenied, m.name, repo)
}
