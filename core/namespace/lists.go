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
	return u.merge(func(r core.Registry) iter.Seq2[string, error] { return r.Repositories(ctx, after) })
}

func (u *Union) Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error] {
	return u.merge(func(r core.Registry) iter.Seq2[string, error] { return r.Holders(ctx, d) })
}

// merge yields the names of every registry in byte order, each only from the
// registry that it belongs to, and ends at the first error. It may end in a *core.Pause.
func (u *Union) merge(list func(core.Registry) iter.Seq2[string, error]) iter.Seq2[string, error] {
	var lists []iter.Seq2[string, error]
	for _, owner := range slices.Sorted(maps.Keys(u.registries)) {
		lists = append(lists, u.owned(owner, list(u.registries[owner])))
	}
	if len(lists) == 1 {
		return lists[0]
	}
	return func(yield func(string, error) bool) {
		// The next name of each list that has one.
		type head struct {
			name string
			err  error
			next func() (string, error, bool)
		}
		// at is where a head stands among the others. A list that pauses has its say
		// when all names before that place were yielded; an error has it at once.
		at := func(h head) string {
			if pause, ok := errors.AsType[*core.Pause](h.err); ok {
				return pause.After
			}
			if h.err != nil {
				return ""
			}
			return h.name
		}
		var heads []head
		for _, l := range lists {
			next, stop := iter.Pull2(l)
			defer stop()
			if name, err, ok := next(); ok {
				heads = append(heads, head{name, err, next})
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
			if !yield(h.name, h.err) || h.err != nil {
				return
			}
			var ok bool
			if h.name, h.err, ok = h.next(); !ok {
				heads = append(heads[:first], heads[first+1:]...)
			}
		}
	}
}

// owned leaves out the names that belong to another owner, or to none.
func (u *Union) owned(owner string, names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return core.Filter(names, func(name string) bool {
		found, ok := u.owner(name)
		return ok && found == owner
	})
}
