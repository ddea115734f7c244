package policies

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// PutManifest needs Create. Without Update the put is CreateOnly: the registry's own
// atomic step decides whether a tag exists, never a look before it.
func (g *guard) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	ctx, err := g.admit(ctx, Create, repo)
	if err != nil {
		return core.ManifestResult{}, err
	}
	if !g.policy.Allows(g.who, Update, repo) {
		put.CreateOnly = true
	}
	result, err := g.registry.PutManifest(ctx, repo, put)
	if err != nil && !g.policy.Allows(g.who, Read, repo) {
		err = unread(err)
	}
	return result, err
}

// unread removes from a refusal what only readers may know: what a tag names and since
// when, and which blobs exist. The log has it.
func unread(err error) error {
	for _, known := range []*core.Error{core.ErrTagExists, core.ErrTypeHeld, core.ErrManifestBlobUnknown} {
		if errors.Is(err, known) {
			return core.WithPublic(core.WithDetail(err, nil), known.Message)
		}
	}
	return err
}

// AdmitManifest needs Create, as PutManifest does, and reads nothing of the manifest.
func (g *guard) AdmitManifest(ctx context.Context, repo string) error {
	ctx, err := g.admit(ctx, Create, repo)
	if err != nil {
		return err
	}
	return core.AdmitManifest(ctx, g.registry, repo)
}

// Mount needs Create here and Read there. A repository that the caller may not read is
// answered like one that does not hold the blob: the client then uploads, and learns
// nothing. Without from, any repository that the caller may read is used.
func (g *guard) Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	ctx, err := g.admit(ctx, Create, repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	if from != "" {
		if !g.policy.Allows(g.who, Read, from) {
			return core.Descriptor{}, fmt.Errorf("mount %s from %s: %w", d, from, core.ErrBlobUnknown)
		}
		return g.registry.Mount(ctx, repo, from, d)
	}
	for holder, err := range g.Holders(ctx, d) {
		if _, paused := errors.AsType[*core.Pause](err); paused {
			break // an upload costs less than looking further
		}
		if err != nil {
			return core.Descriptor{}, fmt.Errorf("mount %s: %w", d, err)
		}
		desc, err := g.registry.Mount(ctx, repo, holder, d)
		// The holder may have dropped the blob since it was listed.
		if errors.Is(err, core.ErrBlobUnknown) || errors.Is(err, core.ErrNameUnknown) {
			continue
		}
		return desc, err
	}
	return core.Descriptor{}, fmt.Errorf("mount %s: %w", d, core.ErrBlobUnknown)
}

func (g *guard) NewUpload(ctx context.Context, repo string, alg digest.Algorithm) (core.Upload, error) {
	ctx, err := g.admit(ctx, Create, repo)
	if err != nil {
		return nil, err
	}
	return g.registry.NewUpload(ctx, repo, alg)
}

// Upload needs Create for everything that can be done with the upload, cancelling it
// too: its ID cannot be guessed, so only its starter knows it.
func (g *guard) Upload(ctx context.Context, repo, id string) (core.Upload, error) {
	ctx, err := g.admit(ctx, Create, repo)
	if err != nil {
		return nil, err
	}
	return g.registry.Upload(ctx, repo, id)
}

func (g *guard) DeleteTag(ctx context.Context, repo, tag string) error {
	ctx, err := g.admit(ctx, Delete, repo)
	if err != nil {
		return err
	}
	return g.registry.DeleteTag(ctx, repo, tag)
}

func (g *guard) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	ctx, err := g.admit(ctx, Delete, repo)
	if err != nil {
		return err
	}
	return g.registry.DeleteManifest(ctx, repo, d)
}

func (g *guard) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	ctx, err := g.admit(ctx, Delete, repo)
	if err != nil {
		return err
	}
	return g.registry.DeleteBlob(ctx, repo, d)
}
