package index

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

var _ store.Projection = (*Index)(nil)

// look reads the catalog with all changes in it.
func (x *Index) look(f func(tx *bbolt.Tx) error) error {
	x.flush()
	return x.view(f)
}

// RepositoryRows implements core.Catalog.
func (x *Index) RepositoryRows(ctx context.Context, group string, order core.RepositoryOrder, after string) iter.Seq2[core.RepositoryRow, error] {
	bucket := map[core.RepositoryOrder][]byte{
		core.RepositoriesByName: reposNamedBucket, core.RepositoriesByPush: reposPushedBucket,
		core.RepositoriesByPull: reposPulledBucket, core.RepositoriesBySize: reposSizeBucket,
	}[order]
	if bucket == nil {
		return core.Fail[core.RepositoryRow](fmt.Errorf("%w: order %q of repositories", core.ErrUnsupported, order))
	}
	if order == core.RepositoriesByName && !x.Whole() {
		return named(x, x.ofGroup(group, after), repositoryRow)
	}
	name := func(at string) string { return at[timeBytes:] }
	if order == core.RepositoriesByName {
		name = func(at string) string { return at }
	}
	return walk(x, bucket, key(group, ""), after, seeker(ctx, name, true), func(tx *bbolt.Tx, at string, _ []byte) (core.RepositoryRow, bool) {
		row, ok := repositoryRow(tx, name(at))
		row.At = at
		return row, ok
	})
}

// ofGroup yields the names of repositories with a first component, or all if that is empty.
func (x *Index) ofGroup(group, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if group != "" && after < group {
			if held, err := x.HasRepository(group); err != nil || held {
				if !yield(group, err) || err != nil {
					return
				}
			}
		}
		if group != "" {
			after = max(after, group+"/")
		}
		for name, err := range x.Repositories(after) {
			if err == nil && group != "" && !strings.HasPrefix(name, group+"/") || !yield(name, err) {
				return
			}
		}
	}
}

// named composes rows of names, which are complete before the catalog is.
func named[T any](x *Index, names iter.Seq2[string, error], compose func(tx *bbolt.Tx, name string) (T, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for name, err := range names {
			var row T
			ok := err != nil
			if err == nil {
				err = x.look(func(tx *bbolt.Tx) error {
					row, ok = compose(tx, name)
					return nil
				})
				ok = ok || err != nil
			}
			if ok && !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// RepositoryRow implements core.Catalog.
func (x *Index) RepositoryRow(_ context.Context, repo string) (row core.RepositoryRow, err error) {
	err = x.look(func(tx *bbolt.Tx) (err error) {
		row, err = existing(tx, repo)
		return err
	})
	return row, err
}

// existing returns the row of a repository that holds a manifest. Errors: core.ErrNameUnknown.
func existing(tx *bbolt.Tx, repo string) (core.RepositoryRow, error) {
	row, ok := repositoryRow(tx, repo)
	if !ok {
		return row, fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
	}
	return row, nil
}

func repositoryRow(tx *bbolt.Tx, name string) (core.RepositoryRow, bool) {
	s, _ := read[sums](tx, sumsBucket, []byte(name))
	row := core.RepositoryRow{
		At: name, Name: name, Tags: s.Tags, Manifests: s.Manifests, Bytes: s.Bytes, OnlyHere: s.OnlyHere,
		Newest: s.Newest, Says: s.Says, Pushed: s.Pushed, Pulls: s.Pulls,
	}
	days, _ := read[map[string]int64](tx, daysBucket, []byte(name))
	for _, day := range slices.Sorted(maps.Keys(days)) {
		row.Days = append(row.Days, core.DayPulls{Day: day, N: days[day]})
	}
	if s.Newest != "" {
		states, _ := read[tagStates](tx, statesBucket, key(name, s.Newest))
		row.NewestDigest = states.Digest
	}
	if s.listed() {
		return row, true
	}
	prefix := key(name, "")
	k, _ := rows(tx, manifestsBucket).seek(prefix)
	return row, bytes.HasPrefix(k, prefix) // not described yet
}

// guarded yields an error for a repository that holds no manifest, or else rows.
func guarded[T any](x *Index, repo string, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if _, err := x.RepositoryRow(context.Background(), repo); err != nil {
			var zero T
			yield(zero, err)
			return
		}
		rows(yield)
	}
}

// TagRows implements core.Catalog.
func (x *Index) TagRows(ctx context.Context, repo string, order core.TagOrder, after string) iter.Seq2[core.TagRow, error] {
	var bucket []byte
	var name func(at string) string
	timed := func(at string) string { return at[timeBytes:] }
	switch order {
	case core.TagsByName:
		bucket, name = statesBucket, func(at string) string { return at }
	case core.TagsByVersion:
		bucket, name = versionsBucket, func(at string) string { return at[strings.IndexByte(at, 0)+1:] }
	case core.TagsByPush:
		bucket, name = tagsPushedBucket, timed
	case core.TagsByPull:
		bucket, name = tagsPulledBucket, timed
	default:
		return core.Fail[core.TagRow](fmt.Errorf("%w: order %q of tags", core.ErrUnsupported, order))
	}
	if order == core.TagsByName && !x.Whole() {
		names := func(yield func(string, error) bool) {
			for tag, err := range x.Tags(repo, after) {
				if !yield(tag.Name, err) {
					return
				}
			}
		}
		return guarded(x, repo, named(x, names, func(tx *bbolt.Tx, tag string) (core.TagRow, bool) {
			return tagRow(tx, repo, tag)
		}))
	}
	return guarded(x, repo, walk(x, bucket, key(repo, ""), after, seeker(ctx, name, false), func(tx *bbolt.Tx, at string, _ []byte) (core.TagRow, bool) {
		row, ok := tagRow(tx, repo, name(at))
		row.At = at
		return row, ok
	}))
}

// TagRow implements core.Catalog.
func (x *Index) TagRow(_ context.Context, repo, tag string) (row core.TagRow, err error) {
	err = x.look(func(tx *bbolt.Tx) error {
		if _, err := existing(tx, repo); err != nil {
			return err
		}
		var ok bool
		if row, ok = tagRow(tx, repo, tag); !ok {
			return fmt.Errorf("%w: tag %s of %s", core.ErrManifestUnknown, tag, repo)
		}
		return nil
	})
	return row, err
}

func tagRow(tx *bbolt.Tx, repo, tag string) (core.TagRow, bool) {
	states, ok := read[tagStates](tx, statesBucket, key(repo, tag))
	if !ok {
		d := digest.Digest(get(tx, tagsBucket, key(repo, tag)))
		if d == "" { // or its record cannot be read
			return core.TagRow{}, false
		}
		states.Digest = d // not described yet
	}
	row := core.TagRow{At: tag, Name: tag, TagState: states.TagState, Before: states.Before}
	row.Image, _ = imageRow(tx, repo, states.Digest)
	row.Aliases, row.MoreAliases = tagsOf(tx, repo, states.Digest, tag)
	row.Image.Tags, row.Image.MoreTags = nil, false // they are this tag and its aliases
	row.Pulls, _ = read[core.PullCount](tx, pullsBucket, pullsKey(repo, "", tag))
	return row, true
}

// tagsOf returns the tags of a digest, without one.
func tagsOf(tx *bbolt.Tx, repo string, d digest.Digest, but string) (tags []string, more bool) {
	prefix := in(repo, pack(d))
	c := rows(tx, aliasesBucket)
	for k, _ := c.seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.next() {
		tag := string(k[len(prefix):])
		if tag == but {
			continue
		}
		if len(tags) == core.MaxAliases {
			return tags, true
		}
		tags = append(tags, tag)
	}
	return tags, false
}

// ImageRows implements core.Catalog.
func (x *Index) ImageRows(_ context.Context, repo, after string) iter.Seq2[core.ImageRow, error] {
	return guarded(x, repo, walk(x, imagesPushedBucket, key(repo, ""), after, nil, func(tx *bbolt.Tx, at string, _ []byte) (core.ImageRow, bool) {
		d, _ := unpack([]byte(at[timeBytes:]))
		row, ok := imageRow(tx, repo, d)
		row.At = at
		return row, ok
	}))
}

// ImageRow implements core.Catalog.
func (x *Index) ImageRow(_ context.Context, repo string, d digest.Digest) (row core.ImageRow, err error) {
	err = x.look(func(tx *bbolt.Tx) error {
		var ok bool
		if row, ok = imageRow(tx, repo, d); ok {
			return nil
		}
		if _, err := existing(tx, repo); err != nil && get(tx, manifestsBucket, key(repo, string(d))) == nil {
			return err
		}
		return unknownImage(tx, repo, d, &row)
	})
	return row, err
}

// unknownImage fills the row of a manifest that is held and not described yet. Errors:
// core.ErrManifestUnknown.
func unknownImage(tx *bbolt.Tx, repo string, d digest.Digest, row *core.ImageRow) error {
	if get(tx, manifestsBucket, key(repo, string(d))) == nil {
		return fmt.Errorf("%w: manifest %s of %s", core.ErrManifestUnknown, d, repo)
	}
	row.Digest = d
	return nil
}

func imageRow(tx *bbolt.Tx, repo string, d digest.Digest) (core.ImageRow, bool) {
	facts, ok := read[core.ImageFacts](tx, imagesBucket, in(repo, pack(d)))
	if !ok {
		return core.ImageRow{}, false
	}
	row := core.ImageRow{Digest: d, Described: true, ImageFacts: facts}
	row.Tags, row.MoreTags = tagsOf(tx, repo, d, "")
	row.Pulls, _ = read[core.PullCount](tx, pullsBucket, pullsKey(repo, d, ""))
	return row, true
}

// ImageNames implements core.Catalog.
func (x *Index) ImageNames(ctx context.Context, repo string, d digest.Digest) (named []core.NamedRow, err error) {
	if _, err := x.ImageRow(ctx, repo, d); err != nil {
		return nil, err
	}
	err = x.look(func(tx *bbolt.Tx) error {
		named = nil
		for one, rest := unpack(get(tx, namedBucket, in(repo, pack(d)))); one != ""; one, rest = unpack(rest) {
			named = append(named, namedRow(tx, repo, one))
		}
		return nil
	})
	return named, err
}

func namedRow(tx *bbolt.Tx, repo string, d digest.Digest) core.NamedRow {
	id := pack(d)
	h := unpackHolding(get(tx, contentBucket, append(id, repo...)))
	row := core.NamedRow{Digest: d, Size: h.size, Manifest: h.manifest}
	if !h.blob && !h.manifest {
		row.Size = -1
	}
	prefix := in(repo, id)
	c := rows(tx, usersBucket)
	for k, _ := c.seek(prefix); bytes.HasPrefix(k, prefix) && row.Users < 2; k, _ = c.next() {
		row.Users++
	}
	c = rows(tx, contentBucket)
	for k, _ := c.seek(id); bytes.HasPrefix(k, id) && !row.Elsewhere; k, _ = c.next() {
		row.Elsewhere = string(k[len(id):]) != repo
	}
	return row
}

// DigestTags implements core.Catalog.
func (x *Index) DigestTags(_ context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error] {
	return walk(x, aliasesBucket, in(repo, pack(d)), after, nil, func(_ *bbolt.Tx, tag string, _ []byte) (string, bool) {
		return tag, true
	})
}

// UserRows implements core.Catalog.
func (x *Index) UserRows(_ context.Context, repo string, d digest.Digest, after string) iter.Seq2[core.ContentRow, error] {
	return walk(x, usersBucket, in(repo, pack(d)), after, nil, func(tx *bbolt.Tx, at string, _ []byte) (core.ContentRow, bool) {
		user, _ := unpack([]byte(at))
		return contentRow(tx, at, repo, user)
	})
}

// ContentRows implements core.Catalog.
func (x *Index) ContentRows(_ context.Context, prefix, after string) iter.Seq2[core.ContentRow, error] {
	from, nibble, ok := packPrefix(prefix)
	if !ok {
		return core.Fail[core.ContentRow](fmt.Errorf("%w: %q is not the beginning of one; it needs %d digits", core.ErrDigestInvalid, core.Clip(prefix), core.MinDigits))
	}
	return walk(x, contentBucket, from, strings.TrimPrefix(after, string(from)), nil, func(tx *bbolt.Tx, rest string, _ []byte) (core.ContentRow, bool) {
		k := append(bytes.Clone(from), rest...)
		if nibble >= 0 && (rest == "" || int(rest[0]>>4) != nibble) {
			return core.ContentRow{}, false
		}
		d, repo := unpack(k)
		if d == "" {
			return core.ContentRow{}, false
		}
		return contentRow(tx, string(k), string(repo), d)
	})
}

// packPrefix returns the whole bytes of a digest's beginning, and the half byte behind them, or -1.
func packPrefix(prefix string) (from []byte, nibble int, ok bool) {
	algorithm, digits, _ := strings.Cut(prefix, ":")
	switch digest.Algorithm(algorithm) {
	case digest.SHA256:
		from = []byte{sha256Byte}
	case digest.SHA512:
		from = []byte{sha512Byte}
	default:
		return nil, -1, false
	}
	nibble = -1
	if len(digits) < core.MinDigits {
		return nil, -1, false
	}
	if len(digits)%2 == 1 { // the rows with other halves are passed over
		half, err := hex.DecodeString("0" + digits[len(digits)-1:])
		if err != nil {
			return nil, -1, false
		}
		nibble, digits = int(half[0]), digits[:len(digits)-1]
	}
	raw, err := hex.DecodeString(digits)
	return append(from, raw...), nibble, err == nil
}

func contentRow(tx *bbolt.Tx, at, repo string, d digest.Digest) (core.ContentRow, bool) {
	h := unpackHolding(get(tx, contentBucket, append(pack(d), repo...)))
	row := core.ContentRow{At: at, Repo: repo, Digest: d, Size: h.size, Manifest: h.manifest, Blob: h.blob}
	return row, h.blob || h.manifest
}

// CatalogState implements core.Catalog.
func (x *Index) CatalogState(context.Context) (state core.CatalogState, err error) {
	err = x.look(func(tx *bbolt.Tx) error {
		state = core.CatalogState{Whole: x.whole && x.ready.Load()}
		if !state.Whole {
			state.Described = int64(x.rows[string(imagesBucket)])
			state.Manifests = int64(x.rows[string(manifestsBucket)])
		}
		return nil
	})
	return state, err
}
