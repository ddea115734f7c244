package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Tags implements core.Lister with the upstream's list, cached as tags are. While the upstream
// cannot be asked and the list is not held, it yields the tags that are held, and logs that the
// list is incomplete. Errors as of Manifest, with ErrNameUnknown for a repository that does not
// exist.
func (m *Mirror) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		got, err := listed(ctx, m, &question[tagRows]{
			key: tagsKey(repo), repo: repo, look: lookAtTags,
			ask: func(ctx context.Context, remote string) (tagRows, error) {
				tags, err := m.upstream.Tags(ctx, remote)
				return newTagRows(time.Now().UTC(), tags), err
			},
			keeps: func(context.Context) bool { return true },
		})
		if unasked(err) && m.heldTags(ctx, repo, after, yield) {
			core.From(ctx, core.SourceStale)
			core.Warn(ctx, "the upstream cannot be asked; the list has only those tags of "+repo+" that are held here")
			m.log.Info("incomplete list of tags served, the upstream cannot be asked", "repository", repo, "error", err)
			return
		}
		if err != nil {
			yield("", err)
			return
		}
		for tag := range got.after(after) {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// unasked reports whether err is a failure after which held content is served.
func unasked(err error) bool {
	return errors.Is(err, core.ErrUpstream) || errors.Is(err, core.ErrUpstreamTimeout) || errors.Is(err, core.ErrTooManyRequests)
}

// heldTags yields the tags that would be served now although the upstream cannot be asked: held,
// and checked within max_stale. It returns false if there were none.
func (m *Mirror) heldTags(ctx context.Context, repo, after string, yield func(string, error) bool) (some bool) {
	if m.settle(ctx, repo) != nil {
		return false
	}
	maxStale := m.settings.Load().MaxStale
	each := func(after string, yield func(string) bool) {
		for tag, err := range m.local.Tags(ctx, repo, after) {
			if err != nil {
				return // held tags cannot be listed: the upstream's failure is the answer
			}
			last, ok := m.checkOf(ctx, repo, tag)
			if ok && time.Since(last.Time) < maxStale && !yield(tag) {
				return
			}
		}
	}
	each(after, func(tag string) bool {
		some = true
		return yield(tag, nil)
	})
	if !some && after != "" { // an empty last page is not a failure
		each("", func(string) bool {
			some = true
			return false
		})
	}
	return some
}

// Referrers implements core.Lister with the upstream's list, cached as tags are. On the
// disk there are only lists that have something, of manifests that are held: clients
// choose the digests.
func (m *Mirror) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	return func(yield func(core.Descriptor, error) bool) {
		got, err := listed(ctx, m, &question[referrersList]{
			key: referrersKey(repo, subject), repo: repo,
			look: func(remote string) look { return lookAtManifest(remote, core.Reference{Digest: subject}) },
			ask: func(ctx context.Context, remote string) (referrersList, error) {
				found, err := m.upstream.Referrers(ctx, remote, subject)
				return newReferrersList(time.Now().UTC(), found), err
			},
			keeps: func(ctx context.Context) bool { return m.has(ctx, repo, subject) },
		})
		if errors.Is(err, upstream.ErrNotFound) || upstream.NotFoundElsewhere(err) || core.Looks(ctx) && unheld(err) {
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

// has reports whether a manifest is held.
func (m *Mirror) has(ctx context.Context, repo string, d digest.Digest) bool {
	_, err := m.held(ctx, repo, d)
	return err == nil
}

// question is one for a list.
type question[L list] struct {
	key, repo string
	look      func(remote string) look
	ask       func(ctx context.Context, remote string) (L, error)
	// keeps reports whether a list that is not empty may be kept on the disk.
	keeps func(ctx context.Context) bool
}

// listed returns a list by the rules of tags. An empty list is remembered only in memory: clients
// choose the names, and most names have an empty list.
func listed[L list](ctx context.Context, m *Mirror, q *question[L]) (L, error) {
	var none L
	if core.Looks(ctx) {
		return lookAtList(ctx, m, q)
	}
	remote, seen, err := m.reads(ctx, q.repo)
	if err != nil {
		return none, err
	}
	settings := m.settings.Load()
	held, ok, err := kept[L](ctx, m, q.key)
	if err != nil {
		return none, err
	}
	if err := m.reveal(ctx, seen, q.key, ok, core.ErrNameUnknown, q.look(remote)); err != nil {
		return none, err
	}
	at := held.at()
	if !ok {
		at, ok = m.empty.get(q.key)
	}
	if ok && time.Since(at) < m.ttl() {
		return held, nil
	}
	if err := m.knownAbsent(q.key, core.ErrNameUnknown); err != nil {
		return none, err
	}
	within := ok && time.Since(at) < settings.MaxStale
	if !core.AccessFrom(ctx).Fetch && within {
		return held, nil
	}
	if err := mayFetch(ctx, "the list of "+q.repo); err != nil {
		return none, err
	}
	type sourced struct {
		list L
		from core.Source
	}
	found, err := together(ctx, m, "mirror.list", q.key, func(ctx context.Context) (sourced, error) {
		if again, ok, _ := kept[L](ctx, m, q.key); ok && time.Since(again.at()) < m.ttl() {
			return sourced{again, core.SourceHeld}, nil // another flight ended since the lookup
		}
		got, err := q.ask(ctx, remote)
		switch {
		case err == nil:
			keep(ctx, m, q, got)
			return sourced{got, core.SourceUpstream}, nil
		case refused(err):
			m.unlist(ctx, q.key)
		case within:
			m.log.Info("stale list served, the upstream cannot be asked", "repository", q.repo, "checked", at, "error", err)
			return sourced{held, core.SourceStale}, nil
		}
		return sourced{}, m.noteAbsent(q.key, err, core.ErrNameUnknown)
	})
	if err == nil {
		core.From(ctx, found.from)
	}
	return found.list, err
}

// lookAtList is listed for a page: the list that was kept, however old, or ErrNameUnknown.
func lookAtList[L list](ctx context.Context, m *Mirror, q *question[L]) (L, error) {
	var none L
	if err := m.mayShow(ctx, q.repo); err != nil {
		return none, err
	}
	held, ok, err := kept[L](ctx, m, q.key)
	switch {
	case err != nil:
		return none, err
	case !ok:
		// In the words of mayShow: callers cannot tell the two.
		return none, fmt.Errorf("%w: %s", core.ErrNameUnknown, q.repo)
	}
	core.AsOf(ctx, held.at())
	return held, nil
}

// keep remembers a list that the upstream gave.
func keep[L list](ctx context.Context, m *Mirror, q *question[L], got L) {
	if got.weight() == 0 {
		m.unlist(ctx, q.key)
		m.empty.set(q.key, got.at())
		return
	}
	m.empty.drop(q.key)
	if !m.noteCredentials(ctx, m.viewOf(q.repo)) {
		return
	}
	if q.keeps(ctx) {
		m.remember(ctx, q.key, got)
	} else {
		m.forget(ctx, q.key) // one from when it was held
	}
	m.lists.set(q.key, got)
}

// unlist forgets a list.
func (m *Mirror) unlist(ctx context.Context, key string) {
	m.forget(ctx, key)
	m.lists.drop(key)
	for _, other := range m.namesakes() {
		other.empty.drop(key)
	}
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

// own leaves out names that other mirrors of the same store hold, names that are not allowed, and
// names that the caller may not see.
func (m *Mirror) own(ctx context.Context, names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return core.Filter(names, func(name string) bool {
		return m.owns(name) && m.allows(name) && m.visible(ctx, name)
	})
}

// owns reports whether a repository of the store is one of this mirror.
func (m *Mirror) owns(repo string) bool { return strings.HasPrefix(repo, m.name+"/") }

// mine is own for a sorted list, which ends after the last name of this mirror.
func (m *Mirror) mine(ctx context.Context, names iter.Seq2[string, error]) iter.Seq2[string, error] {
	return m.own(ctx, func(yield func(string, error) bool) {
		for name, err := range names {
			if err == nil && !m.owns(name) || !yield(name, err) {
				return
			}
		}
	})
}
