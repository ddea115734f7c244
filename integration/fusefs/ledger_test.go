package fusefs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// name is a tag or a manifest of a repository, or a blob when blob is set.
type name struct {
	repo string
	ref  core.Reference
	blob bool
}

func tagName(repo, tag string) name {
	return name{repo: repo, ref: core.Reference{Tag: tag}}
}

func manifestName(repo string, d digest.Digest) name {
	return name{repo: repo, ref: core.Reference{Digest: d}}
}

func blobName(repo string, d digest.Digest) name {
	return name{repo: repo, ref: core.Reference{Digest: d}, blob: true}
}

func (n name) String() string { return n.repo + ":" + n.ref.String() }

// ledger is what one client knows of the registry: the digests that a name may
// stand for, an empty one for "not there". It is one where the last operation on
// the name was answered, and several where an answer never came.
type ledger map[name][]digest.Digest

// try notes that an operation began which may make n stand for d.
func (l ledger) try(n name, d digest.Digest) {
	if len(l[n]) == 0 {
		l[n] = []digest.Digest{""}
	}
	if !slices.Contains(l[n], d) {
		l[n] = append(l[n], d)
	}
}

// acknowledge notes that n stands for d.
func (l ledger) acknowledge(n name, d digest.Digest) { l[n] = []digest.Digest{d} }

// may tells whether n may stand for d.
func (l ledger) may(n name, d digest.Digest) bool { return slices.Contains(l[n], d) }

// losses compares a registry with the ledger: a sentence for each thing that was
// acknowledged and is not so, and for each image that is there in part.
func (l ledger) losses(reg core.Registry) []string {
	var losses []string
	for n, allowed := range l {
		got, err := look(reg, n)
		switch {
		case err != nil:
			losses = append(losses, fmt.Sprintf("%s: %v", n, err))
		case !slices.Contains(allowed, got):
			losses = append(losses, fmt.Sprintf("%s is %q, acknowledged was %q", n, got, allowed))
		case got != "" && !n.blob:
			if err := whole(reg, n.repo, n.ref, len(allowed) == 1); err != nil {
				losses = append(losses, fmt.Sprintf("%s is not whole: %v", n, err))
			}
		}
	}
	slices.Sort(losses)
	return losses
}

// look returns what n stands for.
func look(reg core.Registry, n name) (digest.Digest, error) {
	var desc core.Descriptor
	var err error
	if n.blob {
		desc, err = reg.Stat(context.Background(), n.repo, n.ref.Digest)
	} else {
		desc, err = reg.Resolve(context.Background(), n.repo, n.ref)
	}
	if isUnknown(err) {
		return "", nil
	}
	return desc.Digest, err
}

func isUnknown(err error) bool {
	return errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) || errors.Is(err, core.ErrBlobUnknown)
}

// whole reads a manifest and everything that it needs, and computes each digest.
// If it was acknowledged it must be among the referrers of its subject; before
// that, the two appear one after the other.
func whole(reg core.Registry, repo string, ref core.Reference, acknowledged bool) error {
	ctx := context.Background()
	m, err := reg.Manifest(ctx, repo, ref)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(m.Bytes); got != m.Descriptor.Digest {
		return fmt.Errorf("the bytes of %s have digest %s", m.Descriptor.Digest, got)
	}
	links, err := core.ParseManifest(m.Descriptor.MediaType, m.Bytes)
	if err != nil {
		return err
	}
	for _, desc := range links.Blobs {
		if err := readBlob(ctx, reg, repo, desc); err != nil {
			return fmt.Errorf("blob %s: %w", desc.Digest, err)
		}
	}
	if links.Subject == nil || !acknowledged {
		return nil
	}
	for referrer, err := range reg.Referrers(ctx, repo, links.Subject.Digest, "", "") {
		if err != nil || referrer.Digest == m.Descriptor.Digest {
			return err
		}
	}
	return fmt.Errorf("%s is not among the referrers of %s", m.Descriptor.Digest, links.Subject.Digest)
}

func readBlob(ctx context.Context, reg core.Registry, repo string, desc core.Descriptor) error {
	b, err := reg.Blob(ctx, repo, desc.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	verifier := desc.Digest.Verifier()
	n, err := io.Copy(verifier, b)
	switch {
	case err != nil:
		return err
	case n != desc.Size || !verifier.Verified():
		return fmt.Errorf("%d bytes of another digest, want %d", n, desc.Size)
	}
	return nil
}
