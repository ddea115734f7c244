package mirror

import (
	"context"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// mayShow returns the refusal for a repository that the caller may not see: not allowed, or hidden by
// the upstream as far as it is known. It asks nobody. What is hidden is refused in the words for what is not
// held, also to anonymous callers: with other ones they would learn which hidden repositories were fetched.
func (m *Mirror) mayShow(ctx context.Context, repo string) error {
	if _, err := m.remote(repo); err != nil {
		return err
	}
	if !m.allows(repo) {
		return m.notAllowed(repo)
	}
	if !m.visible(ctx, repo) {
		return fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
	}
	return m.settle(ctx, repo)
}

// lookAt is Manifest for a page: what is held, or ErrManifestUnknown.
func (m *Mirror) lookAt(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.Manifest{}, err
	}
	return m.local.Manifest(ctx, repo, ref)
}

// lookAtContent is Blob for a page: what is held, or ErrBlobUnknown.
func (m *Mirror) lookAtContent(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return nil, err
	}
	return m.local.Blob(ctx, repo, d)
}

// RepositoryRows implements core.Catalog.
func (m *Mirror) RepositoryRows(ctx context.Context, in string, order core.RepositoryOrder, after string) iter.Seq2[core.RepositoryRow, error] {
	if in != "" && in != m.name {
		return func(func(core.RepositoryRow, error) bool) {}
	}
	return func(yield func(core.RepositoryRow, error) bool) {
		if err := m.settle(ctx, ""); err != nil {
			yield(core.RepositoryRow{}, err)
			return
		}
		core.FilterRows(m.local.RepositoryRows(ctx, m.name, order, after),
			func(row core.RepositoryRow) string { return row.At },
			func(row core.RepositoryRow) bool { return m.allows(row.Name) && m.visible(ctx, row.Name) })(yield)
	}
}

// RepositoryRow implements core.Catalog.
func (m *Mirror) RepositoryRow(ctx context.Context, repo string) (core.RepositoryRow, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.RepositoryRow{}, err
	}
	return m.local.RepositoryRow(ctx, repo)
}

// TagRows implements core.Catalog: the tags that are held.
func (m *Mirror) TagRows(ctx context.Context, repo string, order core.TagOrder, after string) iter.Seq2[core.TagRow, error] {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.Fail[core.TagRow](err)
	}
	return m.local.TagRows(ctx, repo, order, after)
}

// TagRow implements core.Catalog.
func (m *Mirror) TagRow(ctx context.Context, repo, tag string) (core.TagRow, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.TagRow{}, err
	}
	return m.local.TagRow(ctx, repo, tag)
}

// ImageRows implements core.Catalog.
func (m *Mirror) ImageRows(ctx context.Context, repo, after string) iter.Seq2[core.ImageRow, error] {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.Fail[core.ImageRow](err)
	}
	return m.local.ImageRows(ctx, repo, after)
}

// ImageRow implements core.Catalog.
func (m *Mirror) ImageRow(ctx context.Context, repo string, d digest.Digest) (core.ImageRow, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.ImageRow{}, err
	}
	return m.local.ImageRow(ctx, repo, d)
}

// ImageNames implements core.Catalog.
func (m *Mirror) ImageNames(ctx context.Context, repo string, d digest.Digest) ([]core.NamedRow, error) {
	if err := m.mayShow(ctx, repo); err != nil {
		return nil, err
	}
	return m.local.ImageNames(ctx, repo, d)
}

// DigestTags implements core.Catalog.
func (m *Mirror) DigestTags(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error] {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.Fail[string](err)
	}
	return m.local.DigestTags(ctx, repo, d, after)
}

// UserRows implements core.Catalog.
func (m *Mirror) UserRows(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[core.ContentRow, error] {
	if err := m.mayShow(ctx, repo); err != nil {
		return core.Fail[core.ContentRow](err)
	}
	return m.local.UserRows(ctx, repo, d, after)
}

// ContentRows implements core.Catalog.
func (m *Mirror) ContentRows(ctx context.Context, prefix, after string) iter.Seq2[core.ContentRow, error] {
	return core.FilterRows(m.local.ContentRows(ctx, prefix, after),
		func(row core.ContentRow) string { return row.At },
		func(row core.ContentRow) bool {
			return m.owns(row.Repo) && m.allows(row.Repo) && m.visible(ctx, row.Repo)
		})
}

// CatalogState implements core.Catalog. It is that of the store, which mirrors share.
func (m *Mirror) CatalogState(ctx context.Context) (core.CatalogState, error) {
	return m.local.CatalogState(ctx)
}
