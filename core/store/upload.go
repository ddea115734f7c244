package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// uploads holds the state of unfinished uploads apart from their bytes: the digest so far, which
// a restart loses and Commit then computes again.
type uploads struct {
	mu   sync.Mutex
	open map[string]*progress // by upload ID; guarded by mu
}

// progress is one unfinished upload.
type progress struct {
	mu        sync.Mutex // held by the one writer
	algorithm digest.Algorithm
	hash      hash.Hash // of the first hashed bytes; nil: not known
	hashed    int64
	ended     bool
}

func (u *uploads) get(id string) *progress {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open == nil {
		u.open = map[string]*progress{}
	}
	p := u.open[id]
	if p == nil {
		p = &progress{}
		u.open[id] = p
	}
	return p
}

func (u *uploads) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, id)
}

// endBucket ends the uploads of a bucket's upload ID, unless a client is writing to one:
// a slow client adds nothing to the file until it has sent a whole block.
func (u *uploads) endBucket(bucketID string) (ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, p := range u.open {
		if !strings.HasPrefix(id, bucketID+"-") {
			continue
		}
		if !p.mu.TryLock() {
			return false
		}
		p.ended = true
		p.mu.Unlock()
		delete(u.open, id)
	}
	return true
}

func (u *uploads) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open = nil
}

// uploadID ties a bucket's upload to a repository, so that it is not found in another repository
// by accident. The unguessable part is the bucket's.
func uploadID(bucketID, repo string) string {
	sum := sha256.Sum256([]byte(repo))
	return bucketID + "-" + hex.EncodeToString(sum[:4])
}

// NewUpload implements core.Writer.
func (s *Store) NewUpload(ctx context.Context, repo string, algorithm digest.Algorithm) (core.Upload, error) {
	if !core.Supported(algorithm) {
		return nil, fmt.Errorf("%w: digest-algorithm %q is neither sha256 nor sha512", core.ErrDigestInvalid, algorithm)
	}
	held, err := s.bucket.NewUpload(ctx)
	if err != nil {
		return nil, s.failed("upload", err)
	}
	id := uploadID(held.ID(), repo)
	p := s.uploads.get(id)
	p.mu.Lock()
	p.algorithm, p.hash = algorithm, algorithm.Hash()
	p.mu.Unlock()
	return &upload{store: s, repo: repo, id: id, by: s.caller(ctx), bucket: held, progress: p}, nil
}

// Upload implements core.Writer.
func (s *Store) Upload(ctx context.Context, repo, id string) (core.Upload, error) {
	cut := strings.LastIndexByte(id, '-')
	if cut < 0 || uploadID(id[:cut], repo) != id {
		return nil, fmt.Errorf("%w: %s of %s", core.ErrBlobUploadUnknown, id, repo)
	}
	held, err := s.bucket.Upload(ctx, id[:cut])
	if errors.Is(err, bucket.ErrNotExist) || errors.Is(err, bucket.ErrKeyInvalid) {
		return nil, fmt.Errorf("%w: %s of %s", core.ErrBlobUploadUnknown, id, repo)
	} else if err != nil {
		return nil, s.failed("upload "+id, err)
	}
	return &upload{store: s, repo: repo, id: id, by: s.caller(ctx), bucket: held, progress: s.uploads.get(id)}, nil
}

// upload is one request's handle on an unfinished upload.
type upload struct {
	store    *Store
	repo     string
	id       string
	by       string // the caller that began it
	bucket   bucket.Upload
	progress *progress
}

var _ core.Upload = (*upload)(nil)

func (u *upload) ID() string    { return u.id }
func (u *upload) Offset() int64 { return u.bucket.Offset() }
func (u *upload) Close() error  { return u.bucket.Close() }

// hold makes the caller the one writer. Errors: ErrRangeInvalid while another
// appends, ErrBlobUploadUnknown when the upload has ended meanwhile.
func (u *upload) hold() (release func(), err error) {
	if !u.progress.mu.TryLock() {
		return nil, fmt.Errorf("%w: another request is writing to upload %s", core.ErrRangeInvalid, u.id)
	}
	if u.progress.ended {
		u.progress.mu.Unlock()
		return nil, fmt.Errorf("%w: %s has ended", core.ErrBlobUploadUnknown, u.id)
	}
	return u.progress.mu.Unlock, nil
}

// Append implements core.Upload.
func (u *upload) Append(ctx context.Context, at int64, r io.Reader) (int64, error) {
	release, err := u.hold()
	if err != nil {
		return 0, err
	}
	defer release()
	offset := u.bucket.Offset()
	if at >= 0 && at != offset {
		return 0, fmt.Errorf("%w: it begins at %d, the upload has %d bytes", core.ErrRangeInvalid, at, offset)
	}
	p := u.progress
	if p.hash != nil && p.hashed == offset {
		r = io.TeeReader(r, p.hash)
	} else {
		p.hash = nil // it was begun before a restart
	}
	n, err := u.bucket.Append(ctx, r)
	p.hashed += n
	if err != nil {
		p.hash = nil // it may have hashed bytes that were not kept
		if errors.Is(err, bucket.ErrNoSpace) {
			err = u.dropFull(ctx, err)
		}
	}
	return n, err
}

// Commit implements core.Upload.
func (u *upload) Commit(ctx context.Context, d digest.Digest) (_ core.Descriptor, err error) {
	ctx, span := core.Begin(ctx, "store.commit_blob")
	defer func() { span.End(err) }()
	release, err := u.hold()
	if err != nil {
		return core.Descriptor{}, err
	}
	defer release()
	got, err := u.digest(ctx, d.Algorithm())
	if err != nil {
		return core.Descriptor{}, fmt.Errorf("upload %s: %w", u.id, err)
	}
	if got != d {
		u.end()
		return core.Descriptor{}, errors.Join(
			fmt.Errorf("%w: the %d bytes sent have digest %s, not %s", core.ErrDigestInvalid, u.bucket.Offset(), got, d),
			u.bucket.Abort(ctx))
	}
	// Before any lock is taken: a blob that is already held is read as a whole.
	damaged, err := u.store.displaced(ctx, d, u.bucket.Offset())
	if err != nil {
		return core.Descriptor{}, fmt.Errorf("upload %s: %w", u.id, err)
	}
	info, err := u.store.keep(ctx, u.repo, d, u.by, func() (bucket.Info, error) { return u.bucket.Commit(ctx, blobKey(d), damaged) })
	if errors.Is(err, core.ErrNoSpace) {
		return core.Descriptor{}, u.dropFull(ctx, err)
	} else if err != nil {
		return core.Descriptor{}, err
	}
	u.store.damage.proven(d, info.Size)
	u.end()
	return blobDescriptor(d, info.Size), nil
}

// dropFull ends an upload that met a full disk with err: it takes the space that other uploads
// need to continue, and its client may never return.
func (u *upload) dropFull(ctx context.Context, err error) error {
	u.end()
	if dropErr := u.bucket.Abort(context.WithoutCancel(ctx)); dropErr != nil && !errors.Is(dropErr, bucket.ErrNotExist) {
		u.store.log.Error("upload that met a full disk could not be dropped; the collector will", "upload", u.id, "error", dropErr)
	}
	return u.store.failed("upload "+u.id+" was dropped", err)
}

// digest returns the digest of the bytes held, from the running hash if there is one.
func (u *upload) digest(ctx context.Context, algorithm digest.Algorithm) (digest.Digest, error) {
	p := u.progress
	if p.hash != nil && p.algorithm == algorithm && p.hashed == u.bucket.Offset() {
		return digest.NewDigest(algorithm, p.hash), nil
	}
	r, err := u.Reader(ctx)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return algorithm.FromReader(io.NewSectionReader(r, 0, u.bucket.Offset()))
}

// Reader reads the bytes held while more are appended, as a mirror does for the readers of its
// download. See bucket.FollowUpload. Errors: core.ErrBlobUploadUnknown when the upload has ended,
// or when the bucket cannot read it: then the client begins again.
func (u *upload) Reader(ctx context.Context) (bucket.UploadReader, error) {
	follow, ok := u.store.bucket.(bucket.FollowUpload)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot be read back from this storage; begin again", core.ErrBlobUploadUnknown, u.id)
	}
	r, err := follow.FollowUpload(ctx, u.bucket.ID())
	if errors.Is(err, bucket.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has ended", core.ErrBlobUploadUnknown, u.id)
	} else if err != nil {
		return nil, u.store.failed("upload "+u.id, err)
	}
	return r, nil
}

// Cancel implements core.Upload.
func (u *upload) Cancel(ctx context.Context) error {
	release, err := u.hold()
	if err != nil {
		return err
	}
	defer release()
	u.end()
	return u.bucket.Abort(ctx)
}

func (u *upload) end() {
	u.progress.ended = true
	u.store.uploads.forget(u.id)
}

// keep makes content readable in repo: put stores it in the bucket (or finds that it
// exists), then the link is made. The collector, which drops content without links and
// removes old links, cannot interfere. Neither content nor link is durable when keep
// returns: the bucket has begun to sync the content, and the first manifest that names
// the blob waits for both.
func (s *Store) keep(ctx context.Context, repo string, d digest.Digest, by string, put func() (bucket.Info, error)) (bucket.Info, error) {
	defer s.repos.share(repo)()
	defer s.keepContent(d)()
	info, err := put()
	if err != nil {
		return info, s.failed("blob "+string(d), err)
	}
	err = s.putLink(ctx, linkKey(d, repo), "", by)
	if err != nil && !errors.Is(err, bucket.ErrExist) {
		return info, s.failed("blob "+string(d), err)
	}
	s.grace.touch(s.now(), repo, d)
	return info, nil
}

// Mount implements core.Writer.
func (s *Store) Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	if from == "" {
		for holder, err := range s.Holders(ctx, d) {
			if err != nil {
				return core.Descriptor{}, err
			}
			from = holder
			break
		}
	}
	var info bucket.Info
	err := s.certain(ctx, func() (err error) {
		info, err = s.keep(ctx, repo, d, s.caller(ctx), func() (bucket.Info, error) {
			if from == "" {
				return bucket.Info{}, bucket.ErrNotExist
			}
			return s.statBlob(ctx, from, d)
		})
		return err
	})
	if errors.Is(err, bucket.ErrNotExist) {
		return core.Descriptor{}, fmt.Errorf("%w: %s of %s", core.ErrBlobUnknown, d, from)
	} else if err != nil {
		return core.Descriptor{}, err
	}
	return blobDescriptor(d, info.Size), nil
}
