package store

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// scan walks over everything that the names project. A damaged tag becomes a row without a
// digest, so that it does not make the names of every repository unusable.
func (s *Store) scan(ctx context.Context) iter.Seq2[NameRow, error] {
	return func(yield func(NameRow, error) bool) {
		for entry, err := range s.scanManifests(ctx) {
			if !yield(entry, err) || err != nil {
				return
			}
		}
		for info, err := range s.bucket.List(ctx, reposPrefix, "") {
			if err != nil {
				yield(NameRow{}, err)
				return
			}
			repo, tag, ok := splitTag(info.Key)
			if !ok {
				continue // a referrer entry
			}
			record, err := s.tagRecord(ctx, repo, tag)
			if errors.Is(err, bucket.ErrNotExist) {
				continue
			}
			if errors.Is(err, ErrDamaged) {
				err = nil
			}
			if !yield(NameRow{Repo: repo, Tag: tag, Digest: record.Digest}, err) || err != nil {
				return
			}
		}
	}
}

// scanManifests walks over the manifests of all repositories.
func (s *Store) scanManifests(ctx context.Context) iter.Seq2[NameRow, error] {
	return s.scanLinks(ctx, manifestsPrefix)
}

// scanLinks walks over the digest-major keys of a kind, in the order of digests.
func (s *Store) scanLinks(ctx context.Context, prefix string) iter.Seq2[NameRow, error] {
	return func(yield func(NameRow, error) bool) {
		for info, err := range s.bucket.List(ctx, prefix, "") {
			if err != nil {
				yield(NameRow{}, err)
				return
			}
			d, repo, ok := splitHold(info.Key, prefix)
			if !ok {
				continue
			}
			if !yield(NameRow{Repo: repo, Digest: d}, nil) {
				return
			}
		}
	}
}

// scanHolds walks over the repositories that hold d as a blob (blobsPrefix) or as a
// manifest (manifestsPrefix). It is one List; on a local disk that reads the names of
// all digests with the same two first digits, so it is not for every digest in turn.
func (s *Store) scanHolds(ctx context.Context, prefix string, d digest.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info, err := range s.bucket.List(ctx, prefix+content(d), "") {
			if err != nil {
				yield("", err)
				return
			}
			if _, repo, ok := splitHold(info.Key, prefix); ok && !yield(repo, nil) {
				return
			}
		}
	}
}

// scanTags walks over the tags of one repository after after. A damaged tag is an error,
// ErrDamaged: it may name something that is about to be removed. The walk continues after it.
func (s *Store) scanTags(ctx context.Context, repo, after string) iter.Seq2[Tag, error] {
	return func(yield func(Tag, error) bool) {
		prefix := tagPrefix(repo)
		for info, err := range s.bucket.List(ctx, prefix, prefix+after) {
			var record tagRecord
			tag := strings.TrimPrefix(info.Key, prefix)
			if err == nil {
				record, err = s.tagRecord(ctx, repo, tag)
			}
			if errors.Is(err, bucket.ErrNotExist) {
				continue // deleted meanwhile
			}
			if !yield(Tag{Name: tag, Digest: record.Digest}, err) || err != nil && !errors.Is(err, ErrDamaged) {
				return
			}
		}
	}
}
