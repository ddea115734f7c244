package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// adoption implements core.Adoption.
type adoption struct {
	bucket.Adoption
	store  *Store
	digest digest.Digest
	size   int64
}

// Adopt begins to make an open file the blob d, without copying it (see bucket.Adopt). Nothing is
// visible before the adoption is committed; the caller closes it. Errors: errors.ErrUnsupported
// when the file must be copied, core.ErrDigestInvalid when its digest is another one or it was
// changed meanwhile, the context's, and those of reading it.
func (s *Store) Adopt(ctx context.Context, d digest.Digest, f *os.File) (core.Adoption, error) {
	adopter, ok := s.bucket.(bucket.Adopt)
	if !ok {
		return nil, fmt.Errorf("adopt %s: this storage cannot share files: %w", d, errors.ErrUnsupported)
	}
	held, err := adopter.Adopt(ctx, f)
	if err != nil {
		return nil, changedFile(err)
	}
	a := &adoption{Adoption: held, store: s, digest: d}
	if err := a.check(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// check reads the bytes through the digest.
func (a *adoption) check(ctx context.Context) error {
	content, err := a.Open()
	if err != nil {
		return changedFile(err)
	}
	defer content.Close()
	var got digest.Digest
	if a.size, got, err = sum(ctx, content, a.digest.Algorithm()); err != nil {
		return err
	}
	if got != a.digest {
		return fmt.Errorf("%w: the %d bytes of the file have digest %s, not %s", core.ErrDigestInvalid, a.size, got, a.digest)
	}
	return nil
}

// Commit implements core.Adoption.
func (a *adoption) Commit(ctx context.Context, repo string) (desc core.Descriptor, adopted bool, err error) {
	s := a.store
	// Before any lock is taken: a blob that is already held is read as a whole.
	damaged, err := s.displaced(ctx, a.digest, a.size)
	if err != nil {
		return core.Descriptor{}, false, fmt.Errorf("adopt %s: %w", a.digest, err)
	}
	info, err := s.keep(ctx, repo, a.digest, s.caller(ctx), func() (info bucket.Info, err error) {
		info, adopted, err = a.Adoption.Commit(ctx, blobKey(a.digest), damaged)
		return info, err
	})
	if err != nil {
		return core.Descriptor{}, false, changedFile(err)
	}
	s.damage.proven(a.digest, info.Size)
	return blobDescriptor(a.digest, info.Size), adopted, nil
}

// changedFile translates the error of a file that its owner has changed.
func changedFile(err error) error {
	if errors.Is(err, bucket.ErrChanged) {
		return fmt.Errorf("%w: the file was changed meanwhile: %w", core.ErrDigestInvalid, err)
	}
	return err
}
