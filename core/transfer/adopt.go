package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// adoptions are the layers of one manifest that are to be files of the source. Their digests are
// checked one after the other, which may take minutes; then all of them are committed at once,
// before the collector can take a layer for one that nobody needs.
type adoptions map[digest.Digest]*adoption

// adoption is one of them.
type adoption struct {
	core.Adoption
	counted bool // in the summary
}

// close releases what was not committed.
func (a adoptions) close() (err error) {
	for _, adoption := range a {
		err = errors.Join(err, adoption.Close())
	}
	return err
}

// prepare adopts a layer, if its file can be shared. Errors also: fault, ErrAbsent.
func (r *repository) prepare(ctx context.Context, desc core.Descriptor, into adoptions) error {
	adopter, ok := r.Target.(Adopter)
	if !ok || !r.Link || r.DryRun || into[desc.Digest] != nil {
		return nil
	}
	if held, err := r.held(ctx, desc); held || err != nil {
		return err
	}
	for _, err := range r.Target.Holders(ctx, desc.Digest) {
		return err // it is mounted
	}
	content, _, err := r.open(ctx, desc)
	if err != nil {
		return err
	}
	defer content.Close()
	file, ok := content.(*os.File)
	if !ok {
		return nil
	}
	if json, err := maybeManifest(file); json || err != nil {
		return err
	}
	adopted, err := adopter.Adopt(ctx, desc.Digest, file)
	switch {
	case err == nil:
		into[desc.Digest] = &adoption{Adoption: adopted}
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		return nil // it is copied
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, core.ErrDigestInvalid):
		return faultf("blob %s is damaged: %w", desc.Digest, err)
	}
	return faultf("blob %s: %w", desc.Digest, err)
}

// sniffed is how much of a file shows whether it can be a manifest.
const sniffed = 512

// maybeManifest reports whether a file begins as JSON does. Whatever an image calls it, it may also be
// a manifest, and zot writes into the file of a manifest that is pushed again.
func maybeManifest(file *os.File) (bool, error) {
	start := make([]byte, sniffed)
	n, err := file.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, faultf("blob %s: %w", file.Name(), err)
	}
	start = bytes.TrimLeft(start[:n], " \t\r\n")
	return len(start) == 0 || start[0] == '{', nil
}

// adopt commits a layer that was prepared. Errors also: fault.
func (r *repository) adopt(ctx context.Context, d digest.Digest, layer *adoption) error {
	desc, adopted, err := layer.Commit(ctx, r.name)
	switch {
	case errors.Is(err, core.ErrDigestInvalid):
		return faultf("blob %s: %w", d, err)
	case err != nil:
		return fmt.Errorf("blob %s: %w", d, err)
	case !adopted, layer.counted:
		return nil
	}
	layer.counted = true
	r.importer.mu.Lock()
	defer r.importer.mu.Unlock()
	if layer.Cloned() {
		r.summary.Cloned++
	} else {
		r.summary.Linked++
	}
	r.summary.Saved += desc.Size
	return nil
}
