package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Hold is the fact that a repository holds a manifest.
type Hold struct {
	Repo   string
	Digest digest.Digest
}

// HoldsIn yields the manifests that repositories hold in a part of the content, in the order
// of digests.
func (s *Store) HoldsIn(ctx context.Context, part Part) iter.Seq2[Hold, error] {
	return func(yield func(Hold, error) bool) {
		for info, err := range s.bucket.List(ctx, manifestsPrefix+string(part), "") {
			d, repo, ok := splitHold(info.Key, manifestsPrefix)
			if (err != nil || ok) && !yield(Hold{repo, d}, err) || err != nil {
				return
			}
		}
	}
}

// ManifestState is the condition of a manifest that a repository holds.
type ManifestState struct {
	// Bytes is the manifest; nil if it is Missing or Wrong.
	Bytes []byte
	// Missing means that its content does not exist, Wrong that it does not match the digest.
	Missing, Wrong bool
	// Record is the problem with its record, or nil.
	Record error
	// Lacks are the blobs that a push of it requires and whose link or content is missing.
	// Absent are the manifests that it lists and that the repository does not hold; a push
	// may leave them out.
	Lacks, Absent []digest.Digest
}

// whole reports whether an examination without locks has found no problem that a concurrent
// change might explain.
func (m *ManifestState) whole() bool {
	return !m.Missing && len(m.Lacks) == 0 && len(m.Absent) == 0
}

// ManifestState examines a manifest and whether the content that it names exists. It does
// not read blobs. In a sparse store content that the manifest names is never missing.
// Errors: bucket.ErrNotExist when repo does not hold the manifest, and others of the bucket.
func (s *Store) ManifestState(ctx context.Context, repo string, d digest.Digest) (ManifestState, error) {
	state, err := s.manifestState(ctx, repo, d)
	if err != nil || state.whole() {
		return state, err
	}
	// Deletes and the collector take the lock exclusively, and a push writes blobs before
	// manifests: content that is missing now was not just removed.
	defer s.repos.share(repo)()
	return s.manifestState(ctx, repo, d)
}

func (s *Store) manifestState(ctx context.Context, repo string, d digest.Digest) (state ManifestState, err error) {
	key := manifestKey(d, repo)
	record, info, err := s.bucket.Get(ctx, key)
	if err != nil {
		return ManifestState{}, err
	}
	object, err := s.Open(ctx, d)
	if errors.Is(err, bucket.ErrNotExist) {
		_, state.Record = decodeLink(info, record)
		state.Missing = true
		return state, nil
	} else if err != nil {
		return ManifestState{}, err
	}
	defer object.Close()
	data, err := io.ReadAll(io.LimitReader(object, core.MaxManifestSize+1))
	if err != nil {
		return ManifestState{}, fmt.Errorf("read %s: %w", object.Info().Key, err)
	}
	if d.Algorithm().FromBytes(data) != d {
		_, state.Record = decodeLink(info, record)
		state.Wrong = true
		return state, nil
	}
	state.Bytes = data
	doc, err := core.Inspect(data)
	if err != nil { // it has the digest, and is served as it is
		_, state.Record = decodeLink(info, record)
		return state, nil
	}
	if _, state.Record = decodeManifest(key, record, &doc); s.sparse {
		return state, nil
	}
	for _, blob := range doc.Required() {
		if err := s.lack(ctx, &state.Lacks, blob.Digest, linkKey(blob.Digest, repo), blobKey(blob.Digest)); err != nil {
			return ManifestState{}, err
		}
	}
	for _, child := range doc.Manifests {
		if err := s.lack(ctx, &state.Absent, child.Digest, manifestKey(child.Digest, repo)); err != nil {
			return ManifestState{}, err
		}
	}
	return state, nil
}

// lack appends d to missing unless all the keys are there.
func (s *Store) lack(ctx context.Context, missing *[]digest.Digest, d digest.Digest, keys ...string) error {
	for _, key := range keys {
		if _, err := s.bucket.Stat(ctx, key); errors.Is(err, bucket.ErrNotExist) {
			*missing = append(*missing, d)
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// RecordState is the condition of the record of a tag or a referrer.
type RecordState struct {
	Key, Repo string
	Tag       string        // or empty: of a referrer
	Digest    digest.Digest // what the tag names, or the referrer
	// Damaged is the problem with the record, or nil.
	Damaged error
	// Dangling means that the tag names a manifest that the repository does not hold. It is
	// not set in a sparse store.
	Dangling bool
}

// Records examines the records of tags and referrers of all repositories, or of one if
// repo is not empty; the tags of a repository come one after the other. An error that comes
// with a Key concerns only that record.
func (s *Store) Records(ctx context.Context, repo string) iter.Seq2[RecordState, error] {
	prefix := reposPrefix
	if repo != "" {
		prefix += repo + "/_"
	}
	return func(yield func(RecordState, error) bool) {
		for info, err := range s.bucket.List(ctx, prefix, "") {
			if err != nil {
				yield(RecordState{}, err)
				return
			}
			state := RecordState{Key: info.Key}
			var ok bool
			if state.Repo, state.Tag, ok = splitTag(info.Key); !ok {
				if state.Repo, _, state.Digest, _, ok = splitReferrer(info.Key); !ok {
					continue // not ours
				}
			}
			err := s.examineRecord(ctx, &state)
			if errors.Is(err, bucket.ErrNotExist) {
				continue // deleted meanwhile
			}
			if !yield(state, err) {
				return
			}
		}
	}
}

// examineRecord fills in the problem with a record. Errors: the bucket's.
func (s *Store) examineRecord(ctx context.Context, state *RecordState) error {
	// A push or a delete may be under way; a second check, under the lock, waits for a delete.
	err := s.lookAtRecord(ctx, state)
	if err != nil || state.Damaged == nil && !state.Dangling {
		return err
	}
	defer s.repos.share(state.Repo)()
	return s.lookAtRecord(ctx, state)
}

func (s *Store) lookAtRecord(ctx context.Context, state *RecordState) error {
	data, _, err := s.bucket.Get(ctx, state.Key)
	if err != nil {
		return err
	}
	state.Damaged, state.Dangling = nil, false
	if state.Tag == "" {
		var desc core.Descriptor
		if desc, state.Damaged = decode[core.Descriptor](state.Key, data); state.Damaged == nil && desc.Digest != state.Digest {
			state.Damaged = fmt.Errorf("record %s is %w: names %q", state.Key, ErrDamaged, desc.Digest)
		}
		return nil
	}
	record, damaged := decodeTag(state.Key, data)
	state.Digest, state.Damaged = record.Digest, damaged
	if damaged != nil || s.sparse {
		return nil
	}
	_, err = s.bucket.Stat(ctx, manifestKey(record.Digest, state.Repo))
	if state.Dangling = errors.Is(err, bucket.ErrNotExist); state.Dangling {
		return nil
	}
	return err
}
