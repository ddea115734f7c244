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
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// Purgeable is a store of mirrors whose content can be purged.
type Purgeable interface {
	core.Registry
	Manifests(ctx context.Context, repo string) iter.Seq2[store.Held, error]
	Evict(ctx context.Context, repo string, ds ...digest.Digest) (store.Evicted, error)
}

// Purge forgets what is held of a repository. For a tag, its manifest stays and can be read by
// digest. For a digest, it forgets the manifest, the tags that name it and the blobs that only it
// needs. With an empty ref it forgets everything, including remembered "not found" answers. The
// next read asks the upstream. If nothing is held, Purge does nothing and returns no error.
// Errors: core.ErrNameUnknown for another mirror's repository.
func (m *Mirror) Purge(ctx context.Context, repo string, ref core.Reference) (store.Evicted, error) {
	if _, err := m.remote(repo); err != nil {
		return store.Evicted{}, err
	}
	local, ok := m.local.(Purgeable)
	if !ok {
		return store.Evicted{}, fmt.Errorf("%w: the store of %s cannot evict", core.ErrUnsupported, m.name)
	}
	m.purgedNow(ctx, repo, ref)
	m.forgetAnswers(repo, ref, nil)
	if err := m.settle(ctx, repo); err != nil {
		return store.Evicted{}, err
	}
	m.askAgain(ctx, repo)
	gone, err := Purge(ctx, local, m.state, repo, ref)
	m.forgetAnswers(repo, ref, gone.Tags)
	for _, tag := range gone.Tags {
		m.unshare(ctx, repo, core.Reference{Tag: tag})
	}
	return gone, err
}

// forgetAnswers drops the upstream's answers from memory. Later callers do not join a request
// that was sent before.
func (m *Mirror) forgetAnswers(repo string, ref core.Reference, tags []string) {
	if ref.Tag != "" {
		tags = append(tags, ref.Tag)
	}
	for _, tag := range tags {
		m.checks.drop(checkKey(repo, tag))
	}
	m.lists.drop(tagsKey(repo))
	switch {
	case ref.Digest != "":
		m.lists.drop(referrersKey(repo, ref.Digest))
	case ref.Tag == "":
		m.lists.dropIf(func(key string) bool { return strings.HasPrefix(key, listsPrefix+repo+"/_") })
	}
	for _, other := range m.namesakes() {
		other.forgetSizes(repo)
		other.forgetAsked(repo, ref, tags)
	}
}

// forgetAsked is the part of forgetAnswers that each mirror has for itself.
func (m *Mirror) forgetAsked(repo string, ref core.Reference, tags []string) {
	for _, tag := range tags {
		m.flights.Forget(repo + ":" + tag)
	}
	m.absent.drop(unseenNoun(repo))
	m.empty.dropIf(func(key string) bool { return strings.HasPrefix(key, listsPrefix+repo+"/_") })
	if ref != (core.Reference{}) {
		m.flights.Forget(nounOf(repo, ref))
		m.absent.drop(nounOf(repo, ref))
		return
	}
	m.flights.Forget(tagsKey(repo))
	m.absent.dropIf(func(noun string) bool {
		return strings.HasPrefix(noun, repo+":") || strings.HasPrefix(noun, repo+"@") ||
			noun == tagsKey(repo) || strings.HasPrefix(noun, listsPrefix+repo+"/_")
	})
}

// Purge is the part of Mirror.Purge that is on the disk, for a store that no mirror
// serves at the moment.
func Purge(ctx context.Context, local Purgeable, state bucket.Bucket, repo string, ref core.Reference) (gone store.Evicted, err error) {
	if err := withdraw(ctx, state, repo, time.Now()); err != nil {
		return gone, fmt.Errorf("purge %s: %w", repo, err)
	}
	keys := []string{tagsKey(repo)}
	switch {
	case ref.Tag != "":
		keys = append(keys, checkKey(repo, ref.Tag))
		if err = local.DeleteTag(ctx, repo, ref.Tag); err == nil {
			gone.Tags = []string{ref.Tag}
		}
	case ref.Digest != "":
		keys = append(keys, referrersKey(repo, ref.Digest))
		gone, err = local.Evict(ctx, repo, ref.Digest)
	default:
		gone, keys, err = purgeAll(ctx, local, state, repo)
	}
	if err != nil && !unheld(err) {
		return gone, fmt.Errorf("purge %s: %w", repo, err)
	}
	for _, tag := range gone.Tags {
		keys = append(keys, checkKey(repo, tag))
	}
	for _, key := range keys {
		if err := state.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return gone, fmt.Errorf("purge %s: %w", repo, err)
		}
	}
	return gone, nil
}

// purgeAll evicts everything of a repository, and returns the keys of its records in State.
func purgeAll(ctx context.Context, local Purgeable, state bucket.Bucket, repo string) (gone store.Evicted, keys []string, err error) {
	var all []digest.Digest
	for held, err := range local.Manifests(ctx, repo) {
		if err != nil {
			return gone, nil, err
		}
		all = append(all, held.Digest)
	}
	if gone, err = local.Evict(ctx, repo, all...); err != nil {
		return gone, nil, err
	}
	keys = []string{tagsKey(repo)}
	for _, prefix := range []string{checksPrefix + repo + "/_tags/", listsPrefix + repo + "/_referrers/"} {
		for info, err := range state.List(ctx, prefix, "") {
			if err != nil {
				return gone, nil, err
			}
			keys = append(keys, info.Key)
		}
	}
	return gone, keys, nil
}
