package namespace

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Route is a Registry and the canonical names that belong to it.
type Route struct {
	// Claims tells whether a name belongs to Registry. It is fast and does no I/O.
	Claims   func(repo string) bool
	Registry core.Registry
}

// New returns the union of the routes: each call goes to the first route that claims
// the repository, and lists are merged in byte order. What a registry lists but
// another route claims, or none, is left out, because it could not be read.
//
// Errors: those of the registries; ErrNameUnknown for a name that no route claims;
// ErrBlobUnknown for a mount across registries, because knowing a digest must never
// be enough to read what another registry keeps.
func New(routes ...Route) core.Registry {
	return &union{routes: routes}
}

// union forwards by hand, so that a method that core.Registry gains is refused by
// Unimplemented until someone decides where it goes.
type union struct {
	core.Unimplemented
	routes []Route
}

var _ core.Registry = (*union)(nil)

// route is the index of the registry that repo belongs to, or -1.
func (u *union) route(repo string) int {
	for i := range u.routes {
		if u.routes[i].Claims(repo) {
			return i
		}
	}
	return -1
}

// registry finds the registry that repo belongs to. Without one it is a registry
// that knows nothing, and err says so.
func (u *union) registry(repo string) (core.Registry, error) {
	if i := u.route(repo); i >= 0 {
		return u.routes[i].Registry, nil
	}
	return core.Unimplemented{}, fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
}

func (u *union) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return r.Resolve(ctx, repo, ref)
}

func (u *union) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Manifest{}, err
	}
	return r.Manifest(ctx, repo, ref)
}

func (u *union) Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	return r.Stat(ctx, repo, d)
}

func (u *union) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.Blob(ctx, repo, d)
}

func (u *union) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.ManifestResult{}, err
	}
	return r.PutManifest(ctx, repo, put)
}

// AdmitManifest implements core.Admitter for those registries that do.
func (u *union) AdmitManifest(ctx context.Context, repo string) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return core.AdmitManifest(ctx, r, repo)
}

func (u *union) Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	r, err := u.registry(repo)
	if err != nil {
		return core.Descriptor{}, err
	}
	if from != "" && u.route(from) != u.route(repo) {
		return core.Descriptor{}, fmt.Errorf("mount %s from %s: %w", d, from, core.ErrBlobUnknown)
	}
	return r.Mount(ctx, repo, from, d)
}

func (u *union) NewUpload(ctx context.Context, repo string, alg digest.Algorithm) (core.Upload, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.NewUpload(ctx, repo, alg)
}

func (u *union) Upload(ctx context.Context, repo, id string) (core.Upload, error) {
	r, err := u.registry(repo)
	if err != nil {
		return nil, err
	}
	return r.Upload(ctx, repo, id)
}

func (u *union) DeleteTag(ctx context.Context, repo, tag string) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteTag(ctx, repo, tag)
}

func (u *union) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteManifest(ctx, repo, d)
}

func (u *union) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	r, err := u.registry(repo)
	if err != nil {
		return err
	}
	return r.DeleteBlob(ctx, repo, d)
}
