package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// age removes the lists that nobody has asked the upstream for within a mirror's keep,
// and those of what refers to a manifest that is not held, which earlier versions kept
// for whatever digest a client chose.
func (p *pass) age(ctx context.Context) error {
	for info, err := range p.State.List(ctx, listsPrefix, "") {
		if err != nil {
			return fmt.Errorf("list the lists of mirrors: %w", err)
		}
		repo, subject, ok := splitList(info.Key)
		age := p.now.Sub(info.Time)
		switch {
		case !ok, age <= p.settings.Grace: // its manifest may be on its way
			continue
		case age <= p.settings.limits(mirrorOf(repo)).Keep && (subject == "" || p.has(ctx, repo, subject)):
			continue
		}
		if err := p.State.Delete(ctx, info.Key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return fmt.Errorf("remove a list of a mirror: %w", err)
		}
	}
	return nil
}

// has tells whether a manifest is held. If that cannot be told, it is.
func (p *pass) has(ctx context.Context, repo string, d digest.Digest) bool {
	local, ok := p.Local.(interface {
		Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error)
	})
	if !ok {
		return true
	}
	_, err := local.Manifest(ctx, repo, core.Reference{Digest: d})
	return err == nil || !unheld(err)
}

// splitList is the repository of a list's key, and the digest of a list of referrers.
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
