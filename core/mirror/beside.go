package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// Beside is what mirrors keep in State beside the manifests of their store: when tags were
// checked, and lists. It implements evict.Beside.
type Beside struct {
	State bucket.Bucket // as Config.State
	Local core.Reader   // as Config.Local
	Log   *slog.Logger
}

// Evicted removes the records of manifests and tags that were evicted. Records that a crash
// leaves are overwritten when the manifest is fetched again.
func (b *Beside) Evicted(ctx context.Context, repo string, gone store.Evicted) {
	keys := make([]string, 0, len(gone.Tags)+len(gone.Manifests))
	for _, tag := range gone.Tags {
		keys = append(keys, checkKey(repo, tag))
	}
	for _, d := range gone.Manifests {
		keys = append(keys, referrersKey(repo, d))
	}
	for _, key := range keys {
		if err := b.State.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			b.Log.Warn("record of the mirror cannot be removed", "key", key, "error", err)
		}
	}
}

// Age removes the lists that were not requested from the upstream within keep of their
// repository. It also removes the lists of referrers of manifests that are not held, which
// earlier versions kept for any digest that a client chose. Lists younger than grace stay: their
// manifest may be about to be stored.
func (b *Beside) Age(
	ctx context.Context, now time.Time, grace time.Duration, keep func(repo string) time.Duration,
) error {
	for info, err := range b.State.List(ctx, listsPrefix, "") {
		if err != nil {
			return fmt.Errorf("list the lists of mirrors: %w", err)
		}
		repo, subject, ok := splitList(info.Key)
		age := now.Sub(info.Time)
		switch {
		case !ok, age <= grace:
			continue
		case age <= keep(repo) && (subject == "" || b.has(ctx, repo, subject)):
			continue
		}
		if err := b.State.Delete(ctx, info.Key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return fmt.Errorf("remove a list of a mirror: %w", err)
		}
	}
	return nil
}

// has reports whether a manifest is held, or may be.
func (b *Beside) has(ctx context.Context, repo string, d digest.Digest) bool {
	_, err := b.Local.Manifest(ctx, repo, core.Reference{Digest: d})
	return err == nil || !unheld(err)
}

// splitList returns the repository of a list's key, and the subject of a list of referrers.
func splitList(key string) (repo string, subject digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(key, listsPrefix)
	if !ok {
		return "", "", false
	}
	if repo, ok = strings.CutSuffix(rest, "/_tags"); ok {
		return repo, "", true
	}
	repo, after, ok := strings.Cut(rest, "/_referrers/")
	return repo, digest.Digest(after), ok
}
