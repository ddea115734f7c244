package deletion

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// weigh finds out what nothing needs any more when the plan is carried out.
func (f *finder) weigh(ctx context.Context, p *Plan, stays map[digest.Digest]bool) error {
	repository, err := f.RepositoryRow(ctx, f.repo)
	if err != nil {
		return err
	}
	p.AtMost = repository.OnlyHere < 0 // then the caller does not know who else has content
	goes := func(d digest.Digest) bool { return f.found[d] != nil && !stays[d] }
	seen := map[digest.Digest]bool{}
	for _, image := range p.Goes {
		shared := false
		if !p.AtMost {
			if shared, err = f.elsewhere(ctx, image.Digest); err != nil {
				return err
			}
		}
		if !shared && !seen[image.Digest] {
			p.Bytes += image.Size
		}
		seen[image.Digest] = true
	}
	for _, image := range p.Goes {
		for _, named := range image.content {
			if seen[named.Digest] {
				continue
			}
			seen[named.Digest] = true
			if named.Size < 0 || named.Manifest || named.Elsewhere && !p.AtMost {
				continue // not held, a manifest that stays, or held elsewhere
			}
			if named.Users > 1 {
				needed, err := f.needed(ctx, named.Digest, goes)
				if err != nil {
					return err
				}
				if needed {
					continue
				}
			}
			p.Bytes += named.Size
		}
	}
	p.AtMost = p.AtMost || f.vague
	return nil
}

// needed reports whether a manifest that stays names content.
func (f *finder) needed(ctx context.Context, d digest.Digest, goes func(digest.Digest) bool) (bool, error) {
	for user, err := range f.UserRows(ctx, f.repo, d, "") {
		if err != nil {
			return false, err
		}
		if !goes(user.Digest) {
			return true, nil
		}
		if f.users++; f.users > maxUsers {
			return false, ErrTooMany
		}
	}
	return false, nil
}

// elsewhere reports whether another repository of the same tree has a manifest.
func (f *finder) elsewhere(ctx context.Context, d digest.Digest) (bool, error) {
	mirrored := f.mirror(f.repo) != ""
	for row, err := range f.ContentRows(ctx, string(d), "") {
		if err != nil {
			return false, err
		}
		if row.Repo != f.repo && (f.mirror(row.Repo) != "") == mirrored {
			return true, nil
		}
	}
	return false, nil
}
