package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Resolve implements core.Reader. A client that asks by digest is about to push an index, so
// the answer restarts the manifest's grace, as in Stat.
func (s *Store) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	told := ref.Digest != "" && core.AccessFrom(ctx).Create && !core.Looks(ctx)
	if told {
		defer s.repos.share(repo)()
	}
	m, err := s.Manifest(ctx, repo, ref)
	if told && err == nil {
		s.grace.touch(s.now(), repo, ref.Digest)
	}
	return m.Descriptor, err
}

// Manifest implements core.Reader.
func (s *Store) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	if ref.Digest != "" {
		return s.manifest(ctx, repo, ref.Digest)
	}
	var missed digest.Digest
	for {
		d, err := s.tagged(ctx, repo, ref.Tag)
		if err != nil {
			return core.Manifest{}, err
		}
		m, err := s.manifest(ctx, repo, d)
		gone := errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown)
		if !gone || d == missed {
			return m, err
		}
		// Between the two reads the tag may have moved and its old manifest may have been
		// deleted. A tag that always had a manifest must not be answered as unknown.
		missed = d
	}
}

// tagged returns the digest that a tag names.
func (s *Store) tagged(ctx context.Context, repo, tag string) (digest.Digest, error) {
	id := tagID{repo, tag}
	if d, ok := s.cache.tags.GetIfPresent(id); ok {
		return d, nil
	}
	put := s.cache.look(repo)
	record, err := s.tagRecord(ctx, repo, tag)
	if err != nil {
		return "", s.unknown(repo, err, core.ErrManifestUnknown, "tag "+tag)
	}
	put(func() { s.cache.tags.Set(id, record.Digest) })
	return record.Digest, nil
}

// tagRecord reads the record at tagKey. Errors: the bucket's, ErrDamaged; the record is empty
// then.
func (s *Store) tagRecord(ctx context.Context, repo, tag string) (tagRecord, error) {
	key := tagKey(repo, tag)
	data, info, err := s.bucket.Get(ctx, key)
	if err != nil {
		return tagRecord{}, err
	}
	record, err := decodeTag(key, data)
	if err != nil {
		s.reportDamage(info, err)
		return tagRecord{}, err
	}
	return record, nil
}

// manifest returns the manifest d if repo holds it.
func (s *Store) manifest(ctx context.Context, repo string, d digest.Digest) (core.Manifest, error) {
	id := manifestID{repo, d}
	if m, ok := s.cache.manifests.GetIfPresent(id); ok {
		return m, nil
	}
	release, err := s.admitRead(ctx, d)
	if err != nil {
		return core.Manifest{}, err
	}
	defer release()
	if m, ok := s.cache.manifests.GetIfPresent(id); ok {
		return m, nil // another request read it meanwhile
	}
	put := s.cache.look(repo)
	m, doc, err := s.readManifest(ctx, repo, d)
	if err != nil {
		return core.Manifest{}, s.unknown(repo, err, core.ErrManifestUnknown, "manifest "+string(d))
	}
	put(func() {
		s.cache.manifests.Set(id, m)
		if doc != nil {
			s.damage.named(repo, doc.Required())
		}
	})
	return m, nil
}

const (
	// maxReading is how many bytes of large manifests are read and inspected for clients at
	// once. It is two of the largest: inspecting one keeps a core busy and takes up to 5 MiB in
	// addition to the manifest.
	maxReading = 2 * core.MaxManifestSize
	// largeRead is the size in bytes from which a manifest counts. Nearly all are smaller.
	largeRead = 256 << 10
)

// admitRead waits until the manifest d may be read from the bucket. Errors: that of ctx.
func (s *Store) admitRead(ctx context.Context, d digest.Digest) (release func(), err error) {
	info, err := s.bucket.Stat(ctx, blobKey(d))
	if err != nil || info.Size < largeRead {
		return func() {}, nil // the read reports the error
	}
	n := min(info.Size, maxReading)
	if err := s.reading.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { s.reading.Release(n) }, nil
}

// readManifest reads a manifest that repo holds, bypassing the cache, and parses it: the
// document is nil if it is not a JSON object. Errors: the bucket's; ErrDamaged when repo
// holds it and its record or its content is damaged or gone, so that it is unknown what it
// names.
func (s *Store) readManifest(ctx context.Context, repo string, d digest.Digest) (core.Manifest, *core.Document, error) {
	key := manifestKey(d, repo)
	data, record, err := s.bucket.Get(ctx, key)
	if err != nil {
		return core.Manifest{}, nil, err
	}
	bytes, err := s.readContent(ctx, d)
	if errors.Is(err, bucket.ErrNotExist) {
		if _, gone := s.bucket.Stat(ctx, key); gone != nil {
			return core.Manifest{}, nil, gone // deleted meanwhile, and collected
		}
		err = fmt.Errorf("content of manifest %s is %w: it is missing", d, ErrDamaged)
		s.reportDamage(bucket.Info{Key: blobKey(d)}, err)
	}
	if err != nil {
		return core.Manifest{}, nil, err
	}
	mediaType := core.MediaTypeUnknown // it matches the digest, and is served with this type
	var doc *core.Document
	if inspected, inspectErr := core.Inspect(bytes); inspectErr == nil {
		doc = &inspected
		if mediaType, err = decodeManifest(key, data, doc); err != nil {
			s.reportDamage(record, err)
		}
	}
	if mediaType == "" {
		return core.Manifest{}, nil, err
	}
	return core.Manifest{
		Descriptor: core.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(bytes))},
		Bytes:      bytes,
	}, doc, nil
}

// readContent reads the content of a manifest. Errors: the bucket's, ErrDamaged.
func (s *Store) readContent(ctx context.Context, d digest.Digest) ([]byte, error) {
	object, err := s.bucket.Open(ctx, blobKey(d))
	if err != nil {
		return nil, err
	}
	defer object.Close()
	info := object.Info()
	var data []byte
	if info.Size <= core.MaxManifestSize {
		data = make([]byte, info.Size)
		_, err = io.ReadFull(object, data)
	}
	if err == nil && d.Algorithm().FromBytes(data) == d {
		return data, nil
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("read %s: %w", info.Key, err) // a disk that fails now may read it the next time
	}
	err = fmt.Errorf("content of manifest %s is %w", d, ErrDamaged)
	s.reportDamage(info, err)
	return nil, err
}

// Stat implements core.Reader. For a caller who may create, the answer means that the blob
// need not be pushed. The repository's lock keeps a collector that has checked the grace,
// but not removed the link yet, from making the answer wrong.
func (s *Store) Stat(ctx context.Context, repo string, d digest.Digest) (desc core.Descriptor, err error) {
	told := core.AccessFrom(ctx).Create && !core.Looks(ctx)
	err = s.certain(ctx, func() error {
		if told {
			defer s.repos.share(repo)()
		}
		info, err := s.statBlob(ctx, repo, d)
		desc = blobDescriptor(d, info.Size)
		if told && err == nil {
			s.grace.touch(s.now(), repo, d)
		}
		return err
	})
	if err != nil {
		return core.Descriptor{}, s.unknown(repo, err, core.ErrBlobUnknown, "blob "+string(d))
	}
	return desc, nil
}

// statBlob checks the link first: content without a link belongs to no repository. Errors:
// bucket.ErrNotExist, with ErrDamaged when the object is not the blob; *doubt.
func (s *Store) statBlob(ctx context.Context, repo string, d digest.Digest) (bucket.Info, error) {
	if _, err := s.bucket.Stat(ctx, linkKey(d, repo)); err != nil {
		return bucket.Info{}, err
	}
	info, err := s.bucket.Stat(ctx, blobKey(d))
	if err != nil {
		return bucket.Info{}, err
	}
	return info, s.checkBlob(repo, d, info)
}

// checkBlob is damage.check, with a line in the log.
func (s *Store) checkBlob(repo string, d digest.Digest, object bucket.Info) error {
	err := s.damage.check(repo, d, object)
	if errors.Is(err, ErrDamaged) {
		s.reportDamage(object, err)
	}
	return err
}

func blobDescriptor(d digest.Digest, size int64) core.Descriptor {
	return core.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size}
}

// Blob implements core.Reader.
func (s *Store) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	var object bucket.Object
	err := s.certain(ctx, func() (err error) {
		if _, err = s.bucket.Stat(ctx, linkKey(d, repo)); err != nil {
			return err
		}
		if object, err = s.bucket.Open(ctx, blobKey(d)); err != nil {
			return err
		}
		if err = s.checkBlob(repo, d, object.Info()); err != nil {
			_ = object.Close() // it was not read
		}
		return err
	})
	if err != nil {
		return nil, s.unknown(repo, err, core.ErrBlobUnknown, "blob "+string(d))
	}
	b := &blob{Object: object, descriptor: blobDescriptor(d, object.Info().Size)}
	if f, ok := object.(interface{ File() *os.File }); ok {
		return &fileBlob{blob: b, file: f}, nil
	}
	return b, nil
}

// blob is an object of the bucket as a core.Blob, seekable.
type blob struct {
	bucket.Object
	descriptor core.Descriptor
}

func (b *blob) Descriptor() core.Descriptor { return b.descriptor }

type fileBlob struct {
	*blob
	file interface{ File() *os.File }
}

var _ core.FileBlob = (*fileBlob)(nil)

func (b *fileBlob) File() *os.File { return b.file.File() }

// unknown turns the bucket's "does not exist" into the protocol's error: ErrNameUnknown if
// the repository holds nothing, else missing. A damaged object counts as missing; the error
// then has ErrDamaged, and pushing the object again repairs it. Other errors are returned
// unchanged.
func (s *Store) unknown(repo string, err error, missing error, noun string) error {
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w: %s of %s is %w in the registry's storage; push it again", missing, noun, repo, ErrDamaged)
	case !errors.Is(err, bucket.ErrNotExist):
		return fmt.Errorf("%s of %s: %w", noun, repo, err)
	case s.names.Ready():
		if held, err := s.names.HasRepository(repo); err == nil && !held {
			return fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
		}
	}
	return fmt.Errorf("%w: %s of %s", missing, noun, repo)
}
