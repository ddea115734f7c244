package mirror

import (
	"context"
	"errors"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/upstream"
)

// heldTag is what the store has of a tag: the manifest, and when the upstream last confirmed that
// the tag names it.
type heldTag struct {
	manifest core.Manifest
	ok       bool
	checked  time.Time // zero: not known, or the upstream has denied the tag since
	gone     time.Time // since when the upstream has no such tag; zero: it has one
	// from is the source of the manifest. Empty: it was held.
	from   core.Source
	damage error // the store has the tag, and cannot read it: as good as not held
}

func (t heldTag) within(age time.Duration) bool {
	return t.ok && time.Since(t.checked) < age
}

// byTag returns the manifest of a tag: the held one while it is fresh, else the upstream's, else,
// when that cannot be asked, a held one that is not too old.
func (m *Mirror) byTag(ctx context.Context, repo, tag string) (core.Manifest, error) {
	held, err := m.heldTag(ctx, repo, tag)
	if err != nil {
		return core.Manifest{}, err
	}
	settings := m.settings.Load()
	noun := repo + ":" + tag
	if held.within(m.ttl()) {
		return held.served(ctx, noun), nil
	}
	// For a held tag, the meaning of its absence is not known yet.
	if err := m.knownAbsent(noun, core.ErrManifestUnknown); err != nil && !held.mayOutlive() {
		return core.Manifest{}, err
	}
	if !core.AccessFrom(ctx).Fetch && held.within(settings.MaxStale) {
		return held.served(ctx, noun), nil
	}
	if err := mayFetch(ctx, noun); err != nil {
		return core.Manifest{}, err
	}
	held, err = together(ctx, m, "mirror.tag", noun, func(ctx context.Context) (heldTag, error) {
		return m.refresh(ctx, repo, tag)
	})
	if err != nil {
		return core.Manifest{}, err
	}
	return held.served(ctx, noun), nil
}

// heldTag looks the tag up in the store, and in the queue for it.
func (m *Mirror) heldTag(ctx context.Context, repo, tag string) (heldTag, error) {
	if held, ok := m.behind.tag(repo, tag); ok {
		return held, nil
	}
	found, err := m.local.Manifest(ctx, repo, core.Reference{Tag: tag})
	switch {
	case errors.Is(err, store.ErrDamaged):
		return heldTag{damage: err}, nil // the upstream can put it right
	case err != nil && unheld(err):
		return heldTag{}, nil
	case err != nil:
		return heldTag{}, err
	}
	held := heldTag{manifest: found, ok: true}
	// The tag is the truth. A check of another digest was cut off from it by a crash.
	if last, ok := m.checkOf(ctx, repo, tag); ok && last.Digest == found.Descriptor.Digest {
		held.checked, held.gone = last.Time, last.Gone
	}
	return held, nil
}

// checkOf returns when a tag was checked, from memory or from State.
func (m *Mirror) checkOf(ctx context.Context, repo, tag string) (check, bool) {
	key := checkKey(repo, tag)
	last, ok, put := m.checks.look(key)
	if ok {
		return last, true
	}
	if last, ok = recall[check](ctx, m, key); !ok || future(last.Time) {
		return check{}, false
	}
	put(last)
	return last, true
}

// unchecked forgets when a tag was checked: it is then not served without asking the upstream.
// Errors: the cause of ctx, when it ends while earlier lessons are being stored.
func (m *Mirror) unchecked(ctx context.Context, repo, tag string) error {
	if err := m.settle(ctx, repo); err != nil {
		return err
	}
	key := checkKey(repo, tag)
	m.forget(ctx, key)
	m.checks.drop(key)
	m.unshare(ctx, repo, core.Reference{Tag: tag})
	return nil
}

// refresh asks the upstream what a tag names. It runs once for all waiting callers.
func (m *Mirror) refresh(ctx context.Context, repo, tag string) (heldTag, error) {
	held, err := m.heldTag(ctx, repo, tag)
	if err != nil {
		return heldTag{}, err
	}
	if held.damage != nil {
		m.log.Warn("tag in the store is damaged, and requested again", "repository", repo, "tag", tag, "error", held.damage)
	}
	settings := m.settings.Load()
	if held.within(m.ttl()) {
		return held, nil // another flight ended since the lookup
	}
	if found, err := m.sharedTag(ctx, repo, tag, held); found.ok || err != nil {
		return found, err
	}
	found, err := m.ask(ctx, repo, tag, held)
	if err == nil {
		return found, nil
	}
	if upstream.VerdictOf(err) == upstream.Gone {
		var still heldTag
		if still, err = m.outlives(ctx, repo, tag, held, err); err == nil {
			return still, nil
		}
	}
	switch {
	case refused(err):
		// Denied content must not be served later either, when the upstream is down.
		if held.ok {
			err = errors.Join(err, m.unchecked(ctx, repo, tag))
		}
	case held.within(settings.MaxStale):
		m.log.Info("stale tag served, the upstream cannot be asked",
			"repository", repo, "tag", tag, "digest", held.manifest.Descriptor.Digest,
			"checked", held.checked, "error", err)
		held.from = core.SourceStale
		return held, nil
	}
	return heldTag{}, m.noteAbsent(repo+":"+tag, err, core.ErrManifestUnknown)
}

// ask sends one HEAD when something is held, and one GET when that is not enough. A HEAD without
// an answer is never repeated as a GET, which may count as a pull. Errors: those of the upstream.
func (m *Mirror) ask(ctx context.Context, repo, tag string, held heldTag) (heldTag, error) {
	remote, err := m.remote(repo)
	if err != nil {
		return heldTag{}, err
	}
	ref := core.Reference{Tag: tag}
	if !held.ok {
		return fetched(m.fetch(ctx, repo, ref, tag))
	}
	asked := time.Now()
	answer, err := m.upstream.Head(ctx, remote, ref)
	if errors.Is(err, upstream.ErrNoDigest) {
		return fetched(m.fetch(ctx, repo, ref, tag))
	} else if err != nil {
		return heldTag{}, err
	}
	d := answer.Descriptor.Digest
	if m.shared != nil && m.shareable(ctx, m.viewOf(repo), answer) {
		m.shareTag(ctx, repo, tag, d, asked)
		if !answer.Anonymous && d == held.manifest.Descriptor.Digest {
			m.shareManifest(ctx, repo, held.manifest) // when it was fetched it was not known to be public
		}
	}
	if d == held.manifest.Descriptor.Digest {
		m.learn(ctx, repo, &lesson{found: held.manifest, tag: tag, at: time.Now()})
		return heldTag{manifest: held.manifest, ok: true}, nil
	}
	known, err := m.held(ctx, repo, d)
	if err == nil {
		// The tag returned to an earlier manifest, or another tag has the same one.
		m.learn(ctx, repo, &lesson{found: known, tag: tag, at: time.Now(), fresh: true})
		return heldTag{manifest: known, ok: true}, nil
	}
	// By digest: then HEAD and GET are about the same manifest.
	found, err := m.fetch(ctx, repo, core.Reference{Digest: d}, tag)
	if upstream.VerdictOf(err) == upstream.Gone || errors.Is(err, upstream.ErrCorrupt) {
		return fetched(m.fetch(ctx, repo, ref, tag)) // the HEAD lied, or the tag has moved on
	}
	return fetched(found, err)
}

// fetched turns the result of fetch into a heldTag.
func fetched(found core.Manifest, err error) (heldTag, error) {
	return heldTag{manifest: found, ok: err == nil, from: core.SourceUpstream}, err
}
