package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
)

// PutManifest implements core.Writer. See the package comment for the order of its
// writes and the locks.
func (s *Store) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	// The push continues when its client has disconnected: otherwise a visible tag would stay
	// without its barrier.
	ctx, asked := context.WithoutCancel(ctx), ctx
	d, doc, err := s.check(&put)
	if err != nil {
		return core.ManifestResult{}, err
	}
	ctx, span := core.Begin(ctx, "store.commit")
	defer func() { span.End(err) }()
	var result core.ManifestResult
	err = s.certain(asked, func() (err error) {
		result, err = s.put(ctx, repo, d, &doc, put)
		return err
	})
	return result, err
}

// put is PutManifest of a valid manifest. Errors also: *doubt, before anything is
// written.
func (s *Store) put(ctx context.Context, repo string, d digest.Digest, doc *core.Document, put core.ManifestPut) (core.ManifestResult, error) {
	defer s.repos.share(repo)()
	defer s.keepContent(d)()
	var early left
	held, err := s.putContent(ctx, repo, d, doc, put.Bytes, func(ctx context.Context) {
		if !put.CreateOnly {
			early = s.leaveEarly(ctx, repo, d, put.Tags)
		}
	})
	if err != nil {
		return core.ManifestResult{}, err
	}
	// Touch again at the end: a collector that listed the manifests before this one was added must
	// find its links young, however long the barriers took.
	defer func() { s.grace.touch(s.now(), repo, held...) }()
	before, err := s.linkManifest(ctx, repo, d, doc, put)
	if err != nil {
		return core.ManifestResult{}, err
	}
	result := core.ManifestResult{
		Descriptor: core.Descriptor{MediaType: put.MediaType, Digest: d, Size: int64(len(put.Bytes))},
		Subject:    doc.SubjectDigest(),
		TypeBefore: before,
	}
	s.damage.named(repo, doc.Required())
	err = s.putTags(ctx, repo, put, early, &result)
	if err == nil && len(put.Tags) > 0 && len(result.Tags) == 0 {
		err = result.Refused[0]
	}
	return result, err
}

// check validates a put without I/O. A sparse store accepts any manifest of an upstream with a
// media type that can be served.
func (s *Store) check(put *core.ManifestPut) (digest.Digest, core.Document, error) {
	if len(put.Bytes) > core.MaxManifestSize {
		return "", core.Document{}, core.ErrManifestTooLarge
	}
	algorithm := digest.SHA256
	if put.Digest != "" {
		algorithm = put.Digest.Algorithm()
	}
	d := algorithm.FromBytes(put.Bytes)
	if put.Digest != "" && put.Digest != d {
		return "", core.Document{}, fmt.Errorf("%w: the manifest's digest is %s, not %s", core.ErrDigestInvalid, d, put.Digest)
	}
	doc, err := core.Inspect(put.Bytes)
	switch {
	case err != nil:
	case s.sparse:
		put.MediaType = doc.ServedType(put.MediaType)
	default:
		err = doc.CheckPush(put.MediaType)
	}
	return d, doc, err
}

// putContent is the first barrier: when it returns, everything that the manifest
// names and its own bytes are durable. Nothing names the bytes yet. It returns those of the
// manifest's blobs that the repository holds. While it waits it runs beside.
func (s *Store) putContent(ctx context.Context, repo string, d digest.Digest, doc *core.Document, data []byte, beside func(context.Context)) ([]digest.Digest, error) {
	held, err := s.named(ctx, repo, doc, data)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, blob := range held {
		keys = append(keys, blobKey(blob), linkKey(blob, repo))
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.barrier(gctx, keys...) })
	group.Go(func() error { beside(gctx); return nil })
	group.Go(func() error {
		_, err := s.bucket.Put(gctx, blobKey(d), data, bucket.Condition{IfAbsent: true})
		if errors.Is(err, bucket.ErrExist) {
			if _, readErr := s.readContent(gctx, d); readErr == nil {
				err = nil
			} else {
				_, err = s.bucket.Put(gctx, blobKey(d), data, bucket.Condition{})
			}
		}
		if err != nil {
			return s.failed("manifest "+string(d), err)
		}
		s.damage.proven(d, int64(len(data)))
		return s.barrier(gctx, blobKey(d))
	})
	return held, group.Wait()
}

// named checks that repo holds what a push needs, and returns those of the named blobs that it
// holds: optional layers may exist, and other kinds of artifacts name blobs in members of their own.
// It restarts the grace of all that is held, manifests too; the repository's lock keeps the
// collector from interfering.
func (s *Store) named(ctx context.Context, repo string, doc *core.Document, manifest []byte) (held []digest.Digest, err error) {
	now := s.now()
	seen := map[digest.Digest]struct{}{}
	var missing []digest.Digest
	for _, desc := range doc.Required() {
		seen[desc.Digest] = struct{}{}
		info, err := s.statBlob(ctx, repo, desc.Digest)
		sparse := s.sparse
		switch {
		case errors.Is(err, bucket.ErrNotExist) && sparse:
			continue
		case errors.Is(err, bucket.ErrNotExist):
			missing = append(missing, desc.Digest)
			continue
		case err != nil:
			return nil, fmt.Errorf("blob %s of %s: %w", desc.Digest, repo, err)
		case info.Size != desc.Size && !sparse && !s.damage.isProven(desc.Digest, info.Size):
			return nil, &doubt{desc.Digest} // of the manifest, or of an object that is held
		case info.Size != desc.Size && !sparse:
			return nil, fmt.Errorf("%w: %s is %d bytes, not %d", core.ErrManifestInvalid, desc.Digest, info.Size, desc.Size)
		}
		s.grace.touch(now, repo, desc.Digest)
		held = append(held, desc.Digest)
	}
	if missing != nil {
		return nil, core.WithDetail(fmt.Errorf("%w: push %v to %s first", core.ErrManifestBlobUnknown, missing, repo),
			map[string]any{"missing": missing})
	}
	for d := range graph.Named(manifest) {
		if _, ok := seen[d]; ok {
			continue
		}
		if seen[d] = struct{}{}; len(seen) > core.MaxDescriptors {
			if s.sparse {
				break // what is not kept can be fetched again
			}
			return nil, fmt.Errorf("%w: it names more than %d digests; split it, for example into several manifests under an index", core.ErrManifestInvalid, core.MaxDescriptors)
		}
		blob, err := s.alsoHeld(ctx, repo, d)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", d, repo, err)
		}
		if blob {
			held = append(held, d)
		}
	}
	return held, nil
}

// alsoHeld restarts the grace of d if repo holds it, as a manifest or as a blob, and reports whether
// it is a blob.
func (s *Store) alsoHeld(ctx context.Context, repo string, d digest.Digest) (blob bool, err error) {
	_, err = s.statBlob(ctx, repo, d)
	if blob = err == nil; !blob && errors.Is(err, bucket.ErrNotExist) {
		_, err = s.bucket.Stat(ctx, manifestKey(d, repo))
	}
	if err == nil {
		s.grace.touch(s.now(), repo, d)
	} else if errors.Is(err, bucket.ErrNotExist) {
		err = nil
	}
	return blob, err
}
