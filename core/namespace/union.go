package namespace

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// New returns the union of registries. owner names the one that a repository belongs to,
// as Site.Owner does; it is fast and does no I/O. Each call goes to the owner of the
// repository, and lists are merged in byte order. What a registry lists but another one
// owns, or none, is left out, because it could not be read.
//
// Errors: those of the registries; ErrNameUnknown for a name without an owner;
// ErrBlobUnknown for a mount across registries, because knowing a digest must never
// be enough to read what another registry keeps.
func New(owner func(repo string) (string, bool), registries map[string]core.Registry) *Union {
	return &Union{owner: owner, registries: registries}
}

// Union is the registries behind the names as one. It forwards by hand, so that a method
// that core.Registry gains is refused by Unimplemented until someone decides where it goes.
type Union struct {
	core.Unimplemented
	owner      func(repo string) (string, bool)
	registries map[string]core.Registry
}

var _ core.Registry = (*Union)(nil)

// For returns the registry that a resolved request is for, so that its owner is not looked
// up again: the whole union where the request is about more than its repository.
func (u *Union) For(r Resolved) core.Registry {
	if registry := u.registries[r.Mirror]; registry != nil && r.Repo != "" && r.Mount == "" {
		return registry
	}
	return u
}

// together reports whether two repositories belong to one registry.
func (u *Union) together(one, other string) bool {
	owner, ok := u.owner(one)
	same, also := u.owner(other)
	return ok && also && owner == same
}

// registry finds the registry that repo belongs to. Without one it is a registry
// that knows nothing, and err says so.
func (u *Union) registry(repo string) (core.Registry, error) {
	if owner, ok := u.owner(repo); ok && u.registries[owner] != nil {
		return u.registries[owner], nil
	}
	return core.Unimplemented{}, fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
}

func (u *Union) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return r.Resolve(ctx, repo, ref)
}

func (u *Union) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Manifest{}, err
	}
	return r.Manifest(ctx, repo, ref)
}

func (u *Union) Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return r.Stat(ctx, repo, d)
}

func (u *Union) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.Blob(ctx, repo, d)
}

func (u *Union) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.ManifestResult{}, err
	}
	return r.PutManifest(ctx, repo, put)
}

// AdmitManifest implements core.Admitter for those registries that do.
func (u *Union) AdmitManifest(ctx context.Context, repo string) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return core.AdmitManifest(ctx, r, repo)
}

func (u *Union) Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	if from != "" && !u.together(repo, from) {
		return core.Descriptor{}, fmt.Errorf("mount %s from %s: %w", d, from, core.ErrBlobUnknown)
	}
	return r.Mount(ctx, repo, from, d)
}

func (u *Union) NewUpload(ctx context.Context, repo string, alg digest.Algorithm) (core.Upload, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.NewUpload(ctx, repo, alg)
}

func (u *Union) Upload(ctx context.Context, repo, id string) (core.Upload, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.Upload(ctx, repo, id)
}

func (u *Union) DeleteTag(ctx context.Context, repo, tag string) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteTag(ctx, repo, tag)
}

func (u *Union) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteManifest(ctx, repo, d)
}

func (u *Union) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteBlob(ctx, repo, d)
}
