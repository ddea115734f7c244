package mirror

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// guess is the size of a blob according to the manifests of a repository. It is not verified, and
// some images have wrong manifests: the size that the upstream reports takes precedence, and the
// digest decides.
type guess struct {
	size int64         // -1: they do not agree
	by   digest.Digest // a manifest that says so
}

// maxSurveyed bounds the manifests of a repository that are read at once for the sizes of its
// blobs.
const maxSurveyed = 1000

// noteSizes remembers the sizes of the blobs that a manifest lists. Once is enough:
// the manifest of a digest never changes.
func (m *Mirror) noteSizes(repo string, found core.Manifest) {
	by := found.Descriptor.Digest
	id := blobID{repo, by}
	if _, ok := m.listed.get(id); ok {
		return
	}
	doc, err := core.Inspect(found.Bytes)
	if err == nil && doc.Ambiguous == nil {
		for _, desc := range doc.Required() {
			m.noteSize(blobID{repo, desc.Digest}, guess{desc.Size, by})
		}
	}
	m.listed.set(id, struct{}{})
}

func (m *Mirror) noteSize(id blobID, new guess) {
	if before, ok := m.sizes.get(id); ok && before.size != new.size {
		new.size = -1
	}
	m.sizes.set(id, new)
}

// guessed is the size of a blob that is not held, if all manifests of its repository
// that are held and list it agree on one.
func (m *Mirror) guessed(ctx context.Context, repo string, d digest.Digest) (size int64, ok bool) {
	id := blobID{repo, d}
	if _, ok := m.sizes.get(id); !ok {
		return 0, false
	}
	m.survey(ctx, repo)
	guess, ok := m.sizes.get(id)
	if !ok || guess.size < 0 {
		return 0, false
	}
	if !m.has(ctx, repo, guess.by) { // it was evicted or purged
		m.sizes.drop(id)
		m.listed.drop(blobID{repo, guess.by})
		return 0, false
	}
	return guess.size, true
}

// survey reads the held manifests of a repository once: for the sizes in them, and so that the
// store knows which sizes its blobs must have. Otherwise a blob whose file was truncated while no
// process ran could be served before its manifest was read. It reports whether it has read them
// now.
func (m *Mirror) survey(ctx context.Context, repo string) bool {
	if _, ok := m.surveyed.get(repo); ok {
		return false
	}
	local, ok := m.local.(interface {
		Manifests(ctx context.Context, repo string) iter.Seq2[store.Held, error]
	})
	if !ok {
		return false
	}
	_, _ = together(ctx, m, "mirror.survey", "survey "+repo, func(ctx context.Context) (struct{}, error) {
		n := 0
		for held, err := range local.Manifests(ctx, repo) {
			if err != nil || n == maxSurveyed {
				break // blobs of unknown size are served as they are
			}
			n++
			if found, err := m.local.Manifest(ctx, repo, core.Reference{Digest: held.Digest}); err == nil {
				m.noteSizes(repo, found)
			}
		}
		if ctx.Err() == nil {
			m.surveyed.set(repo, struct{}{})
		}
		return struct{}{}, nil
	})
	return true
}

// expect reports whether the store should check a blob again that it holds with this many bytes,
// because it may have learned the right size since.
func (m *Mirror) expect(ctx context.Context, repo string, d digest.Digest, bytes int64) bool {
	guess, ok := m.sizes.get(blobID{repo, d})
	switch {
	case !ok:
		return m.survey(ctx, repo)
	case guess.size != bytes:
		return m.settle(ctx, repo) == nil // the manifest may be on its way to the store
	}
	return false
}

// forgetSizes drops the sizes in the manifests of a repository, after some of them were removed.
func (m *Mirror) forgetSizes(repo string) {
	of := func(id blobID) bool { return id.repo == repo }
	m.sizes.dropIf(of)
	m.listed.dropIf(of)
	m.surveyed.drop(repo)
}
