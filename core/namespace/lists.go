package namespace

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

func (u *Union) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	r, err := u.registry(repo)
	if err != nil {
		return core.Fail[string](err)
	}
	return r.Tags(ctx, repo, after)
}

// Referrers of a repository that nobody claims are none, as of one that is empty.
func (u *Union) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	r, err := u.registry(repo)
	if err != nil {
		return func(func(core.Descriptor, error) bool) {}
	}
	return r.Referrers(ctx, repo, subject, artifactType, after)
}

func (u *Union) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return merge(u, func(r core.Registry) iter.Seq2[string, error] { return r.Repositories(ctx, after) }, itself, itself)
}

func (u *Union) Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error] {
	return merge(u, func(r core.Registry) iter.Seq2[string, error] { return r.Holders(ctx, d) }, itself, itself)
}

func itself(name string) string { return name }

// merge yields the rows of every registry's list in the order of their places, each only from the
// registry that its repository belongs to, and ends at the first error. It may end in a *core.Pause.
func merge[T any](u *Union, list func(core.Registry) iter.Seq2[T, error], place, repo func(T) string) iter.Seq2[T, error] {
	var lists []iter.Seq2[T, error]
	for _, owner := range slices.Sorted(maps.Keys(u.registries)) {
		lists = append(lists, core.FilterRows(list(u.registries[owner]), place, func(row T) bool {
			found, ok := u.owner(repo(row))
			return ok && found == owner
		}))
	}
	if len(lists) == 1 {
		return lists[0]
	}
	return func(yield func(T, error) bool) {
		// The next row of each list that has one.
		type head struct {
			row  T
			err  error
			next func() (T, error, bool)
		}
		// at is where a head stands among the others. A list that pauses has its say
		// when all rows before that place were yielded; an error has it at once.
		at := func(h head) string {
			if pause, ok := errors.AsType[*core.Pause](h.err); ok {
				return pause.After
			}
			if h.err != nil {
				return ""
			}
			return place(h.row)
		}
		var heads []head
		for _, l := range lists {
			next, stop := iter.Pull2(l)
			defer stop()
			if row, err, ok := next(); ok {
				heads = append(heads, head{row, err, next})
			}
		}
		for len(heads) > 0 {
			first := 0
			for i := range heads {
				if at(heads[i]) < at(heads[first]) {
					first = i
				}
			}
			h := &heads[first]
			if !yield(h.row, h.err) || h.err != nil {
				return
			}
			var ok bool
			if h.row, h.err, ok = h.next(); !ok {
				heads = append(heads[:first], heads[first+1:]...)
			}
		}
	}
}
