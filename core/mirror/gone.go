package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Content that an upstream deleted is still served (Settings.DropGone is false), because
// deployments need it and often do not know of the deletion. The upstream's 404 counts as a
// check of the tag like any other answer, and the check's record says since when, so that
// only a purge of the tag ends it.

// admitter is an upstream that reports whether it lets anonymous callers into a repository:
// upstream.Client. With another upstream, deleted tags are not served.
type admitter interface {
	Admits(ctx context.Context, repo string, ref core.Reference) error
}

// outlives returns what is held of a tag that the upstream no longer has, if anonymous callers
// can still read its repository. Some registries, and token endpoints, answer "not found" for a
// repository that has become private: then outlives returns that refusal. Errors: cause when the
// tag ends with the upstream's; those of the upstream.
func (m *Mirror) outlives(ctx context.Context, repo, tag string, held heldTag, cause error) (heldTag, error) {
	up, ok := m.upstream.(admitter)
	if !ok || !held.mayOutlive() || m.settings.Load().DropGone {
		return heldTag{}, cause
	}
	remote, err := m.remote(repo)
	if err != nil {
		return heldTag{}, err
	}
	if err := up.Admits(ctx, remote, core.Reference{Tag: tag}); err != nil {
		return heldTag{}, err
	}
	now := time.Now()
	if held.gone.IsZero() {
		held.gone = now
		m.log.Warn("tag is gone from the upstream; the held copy is served until it is purged",
			"repository", repo, "tag", tag, "digest", held.manifest.Descriptor.Digest)
	}
	held.checked = now
	m.learn(ctx, repo, &lesson{found: held.manifest, tag: tag, at: now, gone: held.gone})
	return held, nil
}

// mayOutlive reports whether the tag was last named, or known to be gone, and not refused.
func (t heldTag) mayOutlive() bool { return t.ok && !t.checked.IsZero() }

// served returns the manifest of a tag for the caller, with a note of its source, and a warning
// if the upstream no longer has it.
func (t heldTag) served(ctx context.Context, noun string) core.Manifest {
	if t.from != "" {
		core.From(ctx, t.from)
	}
	if !t.gone.IsZero() {
		core.From(ctx, core.SourceStale)
		core.Warn(ctx, fmt.Sprintf("%s is gone from its upstream since %s; this is a copy", noun, t.gone.UTC().Format(time.RFC3339)))
	}
	return t.manifest
}

// maxGoneChecks bounds the records that CountGone reads, so that it is quick on any storage.
const maxGoneChecks = 10_000

// CountGone counts the tags of a mirror that are served on although the upstream has
// deleted them. It reads the records in state, the bucket of the mirrors; more reports
// that there are more records than it reads, so that n is the least.
func CountGone(ctx context.Context, state bucket.Bucket, mirror string) (n int, more bool, err error) {
	read := 0
	for info, err := range state.List(ctx, checksPrefix+mirror+"/", "") {
		if err != nil {
			return n, false, err
		}
		if read++; read > maxGoneChecks {
			return n, true, nil
		}
		data, _, err := state.Get(ctx, info.Key)
		if errors.Is(err, bucket.ErrNotExist) {
			continue // it was purged or evicted meanwhile
		}
		if err != nil {
			return n, false, err
		}
		var last check
		if data, err = unseal(data); err == nil && json.Unmarshal(data, &last) == nil && !last.Gone.IsZero() {
			n++
		}
	}
	return n, false, nil
}

var _ admitter = (*upstream.Client)(nil)
