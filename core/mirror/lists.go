package mirror

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Tags implements core.Lister with the upstream's list, cached as tags are. Errors
// as of Manifest, with ErrNameUnknown for a repository that is not there.
func (m *Mirror) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		got, err := listed(ctx, m, tagsKey(repo), repo, lookAtTags, func(ctx context.Context, remote string) (tagsList, error) {
			tags, err := m.upstream.Tags(ctx, remote)
			slices.Sort(tags)
			return tagsList{Time: time.Now().UTC(), Tags: slices.Compact(tags)}, err
		})
		if err != nil {
			yield("", err)
			return
		}
		at, held := slices.BinarySearch(got.Tags, after)
		if held {
			at++
		}
		for _, tag := range got.Tags[at:] {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// Referrers implements core.Lister with the upstream's list, cached as tags are.
func (m *Mirror) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	return func(yield func(core.Descriptor, error) bool) {
		if _, err := m.reads(ctx, repo); err != nil {
			yield(core.Descriptor{}, err)
			return
		}
		look := func(remote string) look { return lookAtManifest(remote, subject) }
		got, err := listed(ctx, m, referrersKey(repo, subject), repo, look, func(ctx context.Context, remote string) (referrersList, error) {
			found, err := m.upstream.Referrers(ctx, remote, subject)
			slices.SortFunc(found, func(a, b core.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
			return referrersList{Time: time.Now().UTC(), Referrers: found}, err
		})
		if errors.Is(err, upstream.ErrNotFound) {
			return // an unknown repository has no referrers; a hidden one is refused
		}
		if err != nil {
			yield(core.Descriptor{}, err)
			return
		}
		for _, desc := range got.Referrers {
			if desc.Digest <= after || artifactType != "" && desc.ArtifactType != artifactType {
				continue
			}
			if !yield(desc, nil) {
				return
			}
		}
	}
}

// list is a record of State that has its time.
type list interface{ at() time.Time }

func (l tagsList) at() time.Time      { return l.Time }
func (l referrersList) at() time.Time { return l.Time }

// listed returns a list by the rules of tags. It is read from State each time:
// lists are asked for rarely and may be large.
func listed[L list](ctx context.Context, m *Mirror, key, repo string, look func(remote string) look, ask func(ctx context.Context, remote string) (L, error)) (L, error) {
	var none L
	remote, err := m.reads(ctx, repo)
	if err != nil {
		return none, err
	}
	settings := m.settings.Load()
	held, ok := recall[L](ctx, m, key)
	if err := m.reveal(ctx, repo, ok, core.ErrNameUnknown, look(remote)); err != nil {
		return none, err
	}
	if ok && time.Since(held.at()) < m.ttl() {
		return held, nil
	}
	if err := m.knownAbsent(key, core.ErrNameUnknown); err != nil {
		return none, err
	}
	within := ok && time.Since(held.at()) < settings.MaxStale
	if !core.AccessFrom(ctx).Fetch && within {
		return held, nil
	}
	if err := mayFetch(ctx, "the list of "+repo); err != nil {
		return none, err
	}
	return together(ctx, m, key, func(ctx context.Context) (L, error) {
		if again, ok := recall[L](ctx, m, key); ok && time.Since(again.at()) < m.ttl() {
			return again, nil // another flight ended between the look and now
		}
		keep := m.noteCredentials(ctx, repo)
		got, err := ask(ctx, remote)
		switch {
		case err == nil:
			if keep {
				m.remember(ctx, key, got)
			}
			return got, nil
		case refused(err):
			m.forget(ctx, key)
		case within:
			m.log.Info("stale list served, the upstream cannot be asked", "repository", repo, "checked", held.at(), "error", err)
			return held, nil
		}
		return none, m.noteAbsent(key, err, core.ErrNameUnknown)
	})
}

// Repositories implements core.Lister: those of this mirror that something is held of,
// with all that was answered before. It may end in a *core.Pause.
func (m *Mirror) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := m.settle(ctx, ""); err != nil {
			yield("", err)
			return
		}
		m.mine(ctx, m.local.Repositories(ctx, max(after, m.name+"/")))(yield)
	}
}

// Holders implements core.Lister: those of this mirror.
func (m *Mirror) Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error] {
	return m.own(ctx, m.local.Holders(ctx, d))
}

// own leaves out what other mirrors of the same store hold, what is not allowed, and
// what the caller may not see.
func (m *Mirror) own(ctx context.Context, names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return core.Filter(names, func(name string) bool {
		return strings.HasPrefix(name, m.name+"/") && m.allows(name) && m.visible(ctx, name)
	})
}

// mine is own of a list in order, which ends behind the last of this mirror.
func (m *Mirror) mine(ctx context.Context, names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return m.own(ctx, func(yield func(string, error) bool) {
		for name, err := range names {
			if err == nil && !strings.HasPrefix(name, m.name+"/") || !yield(name, err) {
				return
			}
		}
	})
}
