package namespace

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// RepositoryRows implements core.Catalog.
func (u *Union) RepositoryRows(ctx context.Context, in string, order core.RepositoryOrder, after string) iter.Seq2[core.RepositoryRow, error] {
	return merge(u, func(r core.Registry) iter.Seq2[core.RepositoryRow, error] {
		return r.RepositoryRows(ctx, in, order, after)
	}, func(row core.RepositoryRow) string { return row.At }, func(row core.RepositoryRow) string { return row.Name })
}

// RepositoryRow implements core.Catalog.
func (u *Union) RepositoryRow(ctx context.Context, repo string) (core.RepositoryRow, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.RepositoryRow{}, err
	}
	return r.RepositoryRow(ctx, repo)
}

// TagRows implements core.Catalog.
func (u *Union) TagRows(ctx context.Context, repo string, order core.TagOrder, after string) iter.Seq2[core.TagRow, error] {
	r, err := u.registry(repo)
	if err != nil {
		return core.Fail[core.TagRow](err)
	}
	return r.TagRows(ctx, repo, order, after)
}

// TagRow implements core.Catalog.
func (u *Union) TagRow(ctx context.Context, repo, tag string) (core.TagRow, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.TagRow{}, err
	}
	return r.TagRow(ctx, repo, tag)
}

// ImageRows implements core.Catalog.
func (u *Union) ImageRows(ctx context.Context, repo, after string) iter.Seq2[core.ImageRow, error] {
	r, err := u.registry(repo)
	if err != nil {
		return core.Fail[core.ImageRow](err)
	}
	return r.ImageRows(ctx, repo, after)
}

// ImageRow implements core.Catalog.
func (u *Union) ImageRow(ctx context.Context, repo string, d digest.Digest) (core.ImageRow, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.ImageRow{}, err
	}
	return r.ImageRow(ctx, repo, d)
}

// ImageNames implements core.Catalog.
func (u *Union) ImageNames(ctx context.Context, repo string, d digest.Digest) ([]core.NamedRow, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.ImageNames(ctx, repo, d)
}

// DigestTags implements core.Catalog.
func (u *Union) DigestTags(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error] {
	r, err := u.registry(repo)
	if err != nil {
		return core.Fail[string](err)
	}
	return r.DigestTags(ctx, repo, d, after)
}

// UserRows implements core.Catalog.
func (u *Union) UserRows(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[core.ContentRow, error] {
	r, err := u.registry(repo)
	if err != nil {
		return core.Fail[core.ContentRow](err)
	}
	return r.UserRows(ctx, repo, d, after)
}

// ContentRows implements core.Catalog.
func (u *Union) ContentRows(ctx context.Context, prefix, after string) iter.Seq2[core.ContentRow, error] {
	return merge(u, func(r core.Registry) iter.Seq2[core.ContentRow, error] {
		return r.ContentRows(ctx, prefix, after)
	}, func(row core.ContentRow) string { return row.At }, func(row core.ContentRow) string { return row.Repo })
}

// CatalogState implements core.Catalog. Mirrors may share a store, and then each counts all of it.
func (u *Union) CatalogState(ctx context.Context) (core.CatalogState, error) {
	sum := core.CatalogState{Whole: true}
	for _, owner := range slices.Sorted(maps.Keys(u.registries)) {
		state, err := u.registries[owner].CatalogState(ctx)
		if err != nil {
			return core.CatalogState{}, err
		}
		sum.Whole = sum.Whole && state.Whole
		sum.Described += state.Described
		sum.Manifests += state.Manifests
	}
	return sum, nil
}
