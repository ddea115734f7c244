package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// maxKnown bounds the sizes in memory, some 8 MiB: those of the blobs of a few
	// thousand images. A blob whose size was forgotten is served unchecked.
	maxKnown = 1 << 15
	// maxReported bounds the damaged objects whose log line is not repeated.
	maxReported = 1 << 10
	// maxExamined is how many blobs are read at once because their size is wrong.
	// Reading competes with clients for the disk.
	maxExamined = 2
	// maxDoubts bounds how many damaged blobs one request causes to be read.
	maxDoubts = 128
	// examineStep is how much is read at once, and between two checks of the context.
	examineStep = 256 << 10
)

var examineBuffers = sync.Pool{New: func() any { b := make([]byte, examineStep); return &b }}

// damage holds the known sizes of content, and the damaged objects.
type damage struct {
	// sizes has the sizes that digests have proven, under an empty repository, and those
	// that the manifests of a repository claim, under its name.
	sizes *otter.Cache[blobID, size]
	// reported has the versions of damaged objects that were logged, by key. It is read
	// and written in one step, under reporting.
	reporting sync.Mutex
	reported  *otter.Cache[string, string]
	// examining is a slot for each blob that is being read.
	examining chan struct{}
}

type blobID struct {
	repo   string
	digest digest.Digest
}

// size is the size of a blob, or -1 and the version of an object that is not the blob.
type size struct {
	bytes   int64
	damaged string
}

func newDamage() (*damage, error) {
	sizes, err := otter.New(&otter.Options[blobID, size]{MaximumSize: maxKnown})
	if err != nil {
		return nil, err
	}
	reported, err := otter.New(&otter.Options[string, string]{MaximumSize: maxReported})
	if err != nil {
		return nil, err
	}
	return &damage{sizes: sizes, reported: reported, examining: make(chan struct{}, maxExamined)}, nil
}

func (d *damage) close() {
	d.sizes.StopAllGoroutines()
	d.reported.StopAllGoroutines()
}

// proven notes the length of bytes that had the digest.
func (d *damage) proven(blob digest.Digest, bytes int64) {
	d.sizes.Set(blobID{digest: blob}, size{bytes: bytes})
}

// named notes the sizes of blobs that a manifest of repo claims. In a private repository
// the push has checked it. In a mirror it is only the upstream's claim, so a
// contradiction causes a check and not an answer.
func (d *damage) named(repo string, blobs []core.Descriptor) {
	for _, desc := range blobs {
		if desc.Size >= 0 {
			d.sizes.Set(blobID{repo, desc.Digest}, size{bytes: desc.Size})
		}
	}
}

// check reports whether an object of the bucket can be the blob, by the sizes in memory.
// Errors: bucket.ErrNotExist with ErrDamaged when it cannot be, *doubt when a manifest
// contradicts it and only its bytes can tell.
func (d *damage) check(repo string, blob digest.Digest, object bucket.Info) error {
	known, ok := d.sizes.GetIfPresent(blobID{digest: blob})
	switch {
	case ok && known.bytes == object.Size:
		return nil
	case ok && (known.bytes >= 0 || known.damaged == object.Version):
		return fmt.Errorf("content of %s is %w: %w", blob, ErrDamaged, bucket.ErrNotExist)
	}
	named, ok := d.sizes.GetIfPresent(blobID{repo, blob})
	if ok && named.bytes != object.Size {
		return &doubt{blob}
	}
	return nil
}

// isProven reports whether bytes is known to be the length of the blob.
func (d *damage) isProven(blob digest.Digest, bytes int64) bool {
	known, ok := d.sizes.GetIfPresent(blobID{digest: blob})
	return ok && known.bytes == bytes
}

// doubt is the error that a blob must be read to find out whether it is intact. It does
// not leave the store.
type doubt struct{ digest digest.Digest }

func (d *doubt) Error() string { return fmt.Sprintf("content of %s must be read first", d.digest) }

// certain runs look, and runs it again each time a blob that it doubts has been read. No
// lock is held while a blob is read.
func (s *Store) certain(ctx context.Context, look func() error) error {
	for range maxDoubts {
		err := look()
		var unsure *doubt
		if !errors.As(err, &unsure) {
			return err
		}
		if err := s.examine(ctx, unsure.digest); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than %d damaged blobs in one request; try again", core.ErrUnavailable, maxDoubts)
}

// examine reads a blob, checks its digest and notes the outcome, unless another request
// has just done so.
func (s *Store) examine(ctx context.Context, d digest.Digest) error {
	select {
	case s.damage.examining <- struct{}{}:
		defer func() { <-s.damage.examining }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	info, err := s.bucket.Stat(ctx, blobKey(d))
	if errors.Is(err, bucket.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if known, ok := s.damage.sizes.GetIfPresent(blobID{digest: d}); ok && (known.bytes >= 0 || known.damaged == info.Version) {
		return nil
	}
	_, err = s.wrong(ctx, d)
	return err
}

// wrong reads the object of d, and returns its version if its bytes do not have the
// digest. The version is empty if they do, or if there is no object. Only bytes that
// were read to the end condemn an object. Errors: the context's, and those of reading,
// with the version of the object: a disk that fails now may read it the next time.
func (s *Store) wrong(ctx context.Context, d digest.Digest) (version string, err error) {
	object, err := s.bucket.Open(ctx, blobKey(d))
	if errors.Is(err, bucket.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer object.Close()
	info := object.Info()
	_, got, err := sum(ctx, object, d.Algorithm())
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return info.Version, fmt.Errorf("read %s: %w", info.Key, err)
	case got == d:
		s.damage.proven(d, info.Size)
		return "", nil
	}
	s.damage.sizes.Set(blobID{digest: d}, size{bytes: -1, damaged: info.Version})
	s.reportDamage(info, errors.New("its bytes do not have the digest"))
	return info.Version, nil
}

// sum reads r to its end and returns its length and digest. Errors: the context's, and r's.
func sum(ctx context.Context, r io.Reader, algorithm digest.Algorithm) (bytes int64, d digest.Digest, err error) {
	hash := algorithm.Hash()
	buf := examineBuffers.Get().(*[]byte)
	defer examineBuffers.Put(buf)
	for {
		if ctx.Err() != nil {
			return bytes, "", context.Cause(ctx)
		}
		n, err := r.Read(*buf)
		_, _ = hash.Write((*buf)[:n]) // a hash accepts everything
		bytes += int64(n)
		switch {
		case err == io.EOF:
			return bytes, digest.NewDigest(algorithm, hash), nil
		case err != nil:
			return bytes, "", err
		}
	}
}

// displaced returns the version of the object of d if an upload of the given length,
// whose digest is right, must replace it. The version is empty if the object is intact
// or missing. An object of another length need not be read: the bucket replaces it
// anyway.
func (s *Store) displaced(ctx context.Context, d digest.Digest, length int64) (version string, err error) {
	held, err := s.bucket.Stat(ctx, blobKey(d))
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case held.Size != length:
		s.reportDamage(held, fmt.Errorf("it must have %d bytes", length))
		return held.Version, nil
	}
	version, err = s.wrong(ctx, d)
	if err != nil && version != "" {
		// The upload's verified bytes replace those that cannot be read.
		s.reportDamage(held, err)
		return version, nil
	}
	return version, err
}

// reportDamage logs a damaged object once.
func (s *Store) reportDamage(object bucket.Info, err error) {
	s.damage.reporting.Lock()
	defer s.damage.reporting.Unlock()
	if version, ok := s.damage.reported.GetIfPresent(object.Key); ok && version == object.Version {
		return
	}
	s.damage.reported.Set(object.Key, object.Version)
	s.log.Error("object in the storage is damaged and treated as missing; pushing the same content again repairs it",
		"key", object.Key, "bytes", object.Size, "error", err)
}
