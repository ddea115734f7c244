package policies

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

func (g *guard) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return g.registry.Resolve(ctx, repo, ref)
}

func (g *guard) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Manifest{}, err
	}
	return g.registry.Manifest(ctx, repo, ref)
}

func (g *guard) Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return g.registry.Stat(ctx, repo, d)
}

func (g *guard) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return nil, err
	}
	return g.registry.Blob(ctx, repo, d)
}

// Repositories leaves out, inside the iteration, repositories that the caller
// may not read: a page is as long as requested, and has no revealing gaps. It
// may end in a *core.Pause.
func (g *guard) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return g.readable(g.registry.Repositories(core.WithReveal(ctx, g.reveals), after))
}

func (g *guard) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[string](err)
	}
	return g.registry.Tags(ctx, repo, after)
}

func (g *guard) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	ctx, err := g.admit(ctx, Read, repo)
	if err != nil {
		return core.Fail[core.Descriptor](err)
	}
	return g.registry.Referrers(ctx, repo, subject, artifactType, after)
}

// Holders leaves out repositories that the caller may not read.
func (g *guard) Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error] {
	return g.readable(g.registry.Holders(core.WithReveal(ctx, g.reveals), d))
}

// reveals reports whether the caller may see content that a mirror's upstream
// hides.
func (g *guard) reveals(repo string) bool { return g.policy.Allows(g.who, Reveal, repo) }

// readable passes on errors and the names that the caller may read.
func (g *guard) readable(names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return core.Filter(names, func(name string) bool { return g.policy.Allows(g.who, Read, name) })
}
