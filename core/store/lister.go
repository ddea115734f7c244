package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Repositories implements core.Lister.
func (s *Store) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return indexed(s, after, s.names.Repositories(after), func(name string) string { return name }, func(after string) iter.Seq2[string, error] {
		return s.scanRepositories(ctx, after)
	})
}

// indexed yields the rows that the names have. If they are not Ready, or turn out to be damaged
// during the walk, scan yields the rows after the last one.
func indexed[T any](s *Store, after string, rows iter.Seq2[T, error], name func(T) string, scan func(after string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		whole := s.names.Ready()
		if whole {
			for row, err := range rows {
				if err != nil {
					s.project(err)
					whole = false
					break
				}
				after = name(row)
				if !yield(row, nil) {
					return
				}
			}
		}
		if whole {
			return
		}
		for row, err := range scan(after) {
			if !yield(row, err) {
				return
			}
		}
	}
}

// scanRepositories is Repositories without the names.
func (s *Store) scanRepositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names := map[string]struct{}{}
		for entry, err := range s.scanManifests(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			names[entry.Repo] = struct{}{}
		}
		sorted := make([]string, 0, len(names))
		for name := range names {
			if name > after {
				sorted = append(sorted, name)
			}
		}
		slices.Sort(sorted)
		for _, name := range sorted {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Tags implements core.Lister.
func (s *Store) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		some := false
		for tag, err := range s.tagNames(ctx, repo, after) {
			some = true
			if !yield(tag, err) {
				return
			}
		}
		if some || s.exists(ctx, repo) {
			return
		}
		yield("", s.unknown(repo, bucket.ErrNotExist, core.ErrNameUnknown, "tags"))
	}
}

// exists reports whether repo holds a manifest.
func (s *Store) exists(ctx context.Context, repo string) bool {
	if s.names.Ready() {
		if held, err := s.names.HasRepository(repo); err == nil {
			return held
		}
	}
	for range s.held(ctx, repo) {
		return true
	}
	return false
}

func (s *Store) tagNames(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	rows := func(yield func(string, error) bool) {
		for tag, err := range s.names.Tags(repo, after) {
			if !yield(tag.Name, err) {
				return
			}
		}
	}
	return indexed(s, after, rows, func(tag string) string { return tag }, func(after string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			prefix := tagPrefix(repo)
			for info, err := range s.bucket.List(ctx, prefix, prefix+after) {
				if !yield(strings.TrimPrefix(info.Key, prefix), err) {
					return
				}
			}
		}
	})
}

// tagRows yields the tags of repo with their digests. A damaged tag is an error, as in scanTags:
// the names do not have its digest either.
func (s *Store) tagRows(ctx context.Context, repo string) iter.Seq2[Tag, error] {
	rows := indexed(s, "", s.names.Tags(repo, ""), func(tag Tag) string { return tag.Name }, func(after string) iter.Seq2[Tag, error] {
		return s.scanTags(ctx, repo, after)
	})
	return func(yield func(Tag, error) bool) {
		for tag, err := range rows {
			if err == nil && tag.Digest == "" {
				var record tagRecord
				record, err = s.tagRecord(ctx, repo, tag.Name)
				tag.Digest = record.Digest
			}
			if errors.Is(err, bucket.ErrNotExist) {
				continue // deleted meanwhile
			}
			if !yield(tag, err) || err != nil && !errors.Is(err, ErrDamaged) {
				return
			}
		}
	}
}

// Digests yields the digests of the manifests that repo holds, in no order. Errors are
// the bucket's.
func (s *Store) Digests(ctx context.Context, repo string) iter.Seq2[digest.Digest, error] {
	return s.held(ctx, repo)
}

// held yields the digests of the manifests of repo.
func (s *Store) held(ctx context.Context, repo string) iter.Seq2[digest.Digest, error] {
	return indexed(s, "", s.names.Manifests(repo), digest.Digest.String, func(after string) iter.Seq2[digest.Digest, error] {
		return func(yield func(digest.Digest, error) bool) {
			for entry, err := range s.scanManifests(ctx) {
				wanted := entry.Repo == repo && string(entry.Digest) > after // the scan, too, is in the order of digests
				if (err != nil || wanted) && !yield(entry.Digest, err) {
					return
				}
			}
		}
	})
}

// Referrers implements core.Lister. It reads only the entries of the requested type, and
// ends in a *core.Pause when it has skipped core.MaxPassed entries of other types or of
// manifests that are gone.
func (s *Store) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	return func(yield func(core.Descriptor, error) bool) {
		start, wanted := "", typeMark(artifactType)
		if after != "" {
			start = afterReferrer(repo, subject, after)
		}
		passed := 0
		for info, err := range s.bucket.List(ctx, referrerPrefix(repo, subject), start) {
			if err != nil {
				yield(core.Descriptor{}, err)
				return
			}
			_, _, d, mark, ok := splitReferrer(info.Key)
			if !ok || mark == "" {
				continue // not ours
			}
			if artifactType == "" || mark == wanted {
				desc, err := s.referrer(ctx, repo, info.Key, d)
				switch {
				case errors.Is(err, bucket.ErrNotExist): // deleted meanwhile, or its push was cut off by a crash
				case err != nil:
					yield(core.Descriptor{}, err)
					return
				case artifactType == "" || desc.ArtifactType == artifactType:
					if !yield(desc, nil) {
						return
					}
					continue
				}
			}
			if passed++; passed == core.MaxPassed {
				yield(core.Descriptor{}, &core.Pause{After: string(d)})
				return
			}
		}
	}
}

// referrer reads an entry and checks that the manifest it describes exists. A damaged
// entry is derived from the manifest. Errors: the bucket's.
func (s *Store) referrer(ctx context.Context, repo, key string, d digest.Digest) (core.Descriptor, error) {
	data, info, err := s.bucket.Get(ctx, key)
	if err != nil {
		return core.Descriptor{}, err
	}
	desc, err := decode[core.Descriptor](key, data)
	if err == nil && desc.Digest != d {
		err = fmt.Errorf("record %s is %w: names %q", key, ErrDamaged, desc.Digest)
	}
	if err != nil {
		s.reportDamage(info, err)
		return s.describeReferrer(ctx, repo, d)
	}
	_, err = s.bucket.Stat(ctx, manifestKey(desc.Digest, repo))
	return desc, err
}

// describeReferrer returns what linkManifest writes into the entry of a manifest.
// Errors: the bucket's; bucket.ErrNotExist also when the manifest is damaged.
func (s *Store) describeReferrer(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	m, doc, err := s.readManifest(ctx, repo, d)
	if doc != nil {
		m.Descriptor.ArtifactType, m.Descriptor.Annotations = doc.ArtifactType, doc.Annotations
	} else if err == nil || errors.Is(err, ErrDamaged) {
		err = bucket.ErrNotExist
	}
	return core.Referrer(m.Descriptor), err
}

// Holders implements core.Lister.
func (s *Store) Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for repo, err := range s.scanHolds(ctx, blobsPrefix, d) {
			if err == nil {
				if _, err = s.bucket.Stat(ctx, blobKey(d)); errors.Is(err, bucket.ErrNotExist) {
					return
				}
			}
			if !yield(repo, err) || err != nil {
				return
			}
		}
	}
}
