package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// An import brings content that another pull-through cache holds. It asks the upstream for each
// manifest and blob, without credentials, before it stores it: then it is as good as fetched. The
// errors of the methods below are ErrDenied for a name that is not allowed here, and those of an
// upstream that cannot be asked.

// ShowsTag returns the manifest that the upstream shows anonymous callers under a tag, or "". It
// does not count as a pull.
func (m *Mirror) ShowsTag(ctx context.Context, repo, tag string) (d digest.Digest, err error) {
	shown, err := m.shows(ctx, repo, func(ctx context.Context, up Upstream, remote string) error {
		answer, err := up.Head(ctx, remote, core.Reference{Tag: tag})
		d = answer.Descriptor.Digest
		return err
	})
	if !shown {
		return "", err
	}
	return d, nil
}

// ShowsManifest reports whether the upstream shows a manifest to anonymous callers.
func (m *Mirror) ShowsManifest(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	return m.shows(ctx, repo, func(ctx context.Context, up Upstream, remote string) error {
		return lookAtManifest(remote, core.Reference{Digest: d})(ctx, up)
	})
}

// ShowsBlob is ShowsManifest for a blob of size bytes.
func (m *Mirror) ShowsBlob(ctx context.Context, repo string, d digest.Digest, size int64) (bool, error) {
	return m.shows(ctx, repo, func(ctx context.Context, up Upstream, remote string) error {
		return lookAtBlob(remote, d, size)(ctx, up)
	})
}

func (m *Mirror) shows(
	ctx context.Context, repo string, look func(ctx context.Context, up Upstream, remote string) error,
) (bool, error) {
	remote, err := m.remote(repo)
	if err != nil {
		return false, err
	}
	if !m.allows(repo) {
		return false, m.notAllowed(repo)
	}
	switch err := look(ctx, m.nobody, remote); {
	case err == nil:
		return true, nil
	case refused(err), errors.Is(err, upstream.ErrCorrupt), errors.Is(err, upstream.ErrNoDigest):
		return false, nil
	default:
		return false, failed(err, core.ErrManifestUnknown)
	}
}

// Learn stores a manifest that the upstream has shown at a time, with the tags that named it there,
// and returns when it is stored. Errors: those of the store.
func (m *Mirror) Learn(ctx context.Context, repo string, found core.Manifest, tags []string, at time.Time) error {
	if len(tags) == 0 {
		tags = []string{""}
	}
	key := fmt.Sprintf("learn %s@%s %q", repo, found.Descriptor.Digest, tags)
	_, err := together(ctx, m, "mirror.learn", key, func(ctx context.Context) (none struct{}, err error) {
		for _, tag := range tags {
			l := &lesson{found: found, tag: tag, at: at, fresh: true}
			m.learn(ctx, repo, l)
			select {
			case <-l.done:
				err = errors.Join(err, l.err)
			case <-ctx.Done():
				return none, context.Cause(ctx)
			}
		}
		return none, err
	})
	return err
}

func (m *Mirror) notAllowed(repo string) error {
	return fmt.Errorf("%w: the mirror of %s is not allowed to serve %s", core.ErrDenied, m.name, repo)
}
