package policies

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Everywhere is what a Policy can also tell: whether it allows an action in every repository. Sums
// over repositories are shown only to those who may read all of them.
type Everywhere interface {
	AllowsEverywhere(who Identity, action Action) bool
}

// sums reports whether the caller may know figures over everything that repo shares content with, or
// over all repositories if repo is empty: who may read every repository, also what upstreams hide.
func (g *guard) sums(repo string) bool {
	p, ok := g.policy.(Everywhere)
	if !ok || !p.AllowsEverywhere(g.who, Read) {
		return false
	}
	c, ok := g.policy.(Concealing)
	return !ok || !c.Conceals(g.who, repo)
}

// RepositoryRows leaves out, inside the iteration, repositories that the caller may not read. It
// may end in a *core.Pause.
func (g *guard) RepositoryRows(ctx context.Context, in string, order core.RepositoryOrder, after string) iter.Seq2[core.RepositoryRow, error] {
	ctx = core.WithReveal(ctx, g.reveals)
	readable := core.FilterRows(g.registry.RepositoryRows(ctx, in, order, after),
		func(row core.RepositoryRow) string { return row.At },
		func(row core.RepositoryRow) bool { return g.policy.Allows(g.who, Read, row.Name) })
	return each(readable, g.repository)
}

func (g *guard) RepositoryRow(ctx context.Context, repo string) (core.RepositoryRow, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.RepositoryRow{}, err
	}
	row, err := g.registry.RepositoryRow(ctx, repo)
	return g.repository(row), err
}

func (g *guard) TagRows(ctx context.Context, repo string, order core.TagOrder, after string) iter.Seq2[core.TagRow, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[core.TagRow](err)
	}
	return each(g.registry.TagRows(ctx, repo, order, after), g.tag)
}

func (g *guard) TagRow(ctx context.Context, repo, tag string) (core.TagRow, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.TagRow{}, err
	}
	row, err := g.registry.TagRow(ctx, repo, tag)
	return g.tag(row), err
}

func (g *guard) ImageRows(ctx context.Context, repo, after string) iter.Seq2[core.ImageRow, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[core.ImageRow](err)
	}
	return each(g.registry.ImageRows(ctx, repo, after), g.image)
}

func (g *guard) ImageRow(ctx context.Context, repo string, d digest.Digest) (core.ImageRow, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.ImageRow{}, err
	}
	row, err := g.registry.ImageRow(ctx, repo, d)
	return g.image(row), err
}

func (g *guard) ImageNames(ctx context.Context, repo string, d digest.Digest) ([]core.NamedRow, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return nil, err
	}
	rows, err := g.registry.ImageNames(ctx, repo, d)
	if !g.sums(repo) {
		for i := range rows {
			rows[i].Elsewhere = true
		}
	}
	return rows, err
}

func (g *guard) DigestTags(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[string](err)
	}
	return g.registry.DigestTags(ctx, repo, d, after)
}

func (g *guard) UserRows(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[core.ContentRow, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[core.ContentRow](err)
	}
	return g.registry.UserRows(ctx, repo, d, after)
}

// ContentRows leaves out repositories that the caller may not read.
func (g *guard) ContentRows(ctx context.Context, prefix, after string) iter.Seq2[core.ContentRow, error] {
	ctx = core.WithReveal(ctx, g.reveals)
	return core.FilterRows(g.registry.ContentRows(ctx, prefix, after),
		func(row core.ContentRow) string { return row.At },
		func(row core.ContentRow) bool { return g.policy.Allows(g.who, Read, row.Repo) })
}

func (g *guard) CatalogState(ctx context.Context) (core.CatalogState, error) {
	state, err := g.registry.CatalogState(ctx)
	if !g.sums("") {
		state.Described, state.Manifests = 0, 0
	}
	return state, err
}

// each changes the rows of a list.
func each[T any](rows iter.Seq2[T, error], change func(T) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for row, err := range rows {
			if !yield(change(row), err) {
				return
			}
		}
	}
}

func (g *guard) repository(row core.RepositoryRow) core.RepositoryRow {
	if !g.sums(row.Name) {
		row.OnlyHere = -1
	}
	if g.who.Anonymous() {
		row.Pulls.By = ""
	}
	return row
}

// tag leaves out the names of people for anonymous callers. The rows share memory with nobody.
func (g *guard) tag(row core.TagRow) core.TagRow {
	if g.who.Anonymous() {
		row.By, row.Pulls.By = "", ""
		for i := range row.Before {
			row.Before[i].By = ""
		}
	}
	row.Image = g.image(row.Image)
	return row
}

func (g *guard) image(row core.ImageRow) core.ImageRow {
	if g.who.Anonymous() {
		row.By, row.Pulls.By = "", ""
	}
	return row
}
