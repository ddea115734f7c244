package running

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/store"
)

// Purge removes what a mirror holds of a name, on trees that no process serves.
func (t *Trees) Purge(ctx context.Context, name string) (control.PurgeReport, error) {
	return t.purge(ctx, name, func(repo string, ref core.Reference) (store.Evicted, error) {
		return mirror.Purge(ctx, t.Mirrors, t.State, repo, ref)
	})
}

// purge checks that the name belongs to a mirror, and purges it.
func (t *Trees) purge(ctx context.Context, name string, forget func(repo string, ref core.Reference) (store.Evicted, error)) (control.PurgeReport, error) {
	repo, ref, err := control.ParseTarget(name)
	if err != nil {
		return control.PurgeReport{}, err
	}
	for held, err := range t.Private.Repositories(ctx, "") {
		if err != nil {
			return control.PurgeReport{}, err
		}
		if held == repo {
			return control.PurgeReport{}, fmt.Errorf("%s was pushed here and does not belong to a mirror; delete it with a client that may delete, such as: crane delete <this registry>/%s", repo, name)
		}
	}
	gone, err := forget(repo, ref)
	report := control.PurgeReport{Repository: repo, Tags: gone.Tags, Manifests: gone.Manifests, Bytes: gone.Bytes}
	if report.Tags == nil {
		report.Tags = []string{}
	}
	if report.Manifests == nil {
		report.Manifests = []digest.Digest{}
	}
	return report, err
}

// forget purges the memory of every open mirror, and then the disk. A mirror with another name
// reports that.
func (s *Storage) forget(ctx context.Context, repo string, ref core.Reference) (all store.Evicted, err error) {
	s.mu.Lock()
	mirrors, trees := slices.Collect(maps.Values(s.mirrors)), s.trees
	s.mu.Unlock()
	for _, m := range mirrors {
		gone, err := m.Purge(ctx, repo, ref)
		if errors.Is(err, core.ErrNameUnknown) {
			continue
		}
		all.Tags, all.Manifests, all.Bytes = append(all.Tags, gone.Tags...), append(all.Manifests, gone.Manifests...), all.Bytes+gone.Bytes
		if err != nil {
			return all, err
		}
	}
	// A mirror that is no longer configured may have stored content.
	gone, err := mirror.Purge(ctx, trees.Mirrors, trees.State, repo, ref)
	all.Tags, all.Manifests, all.Bytes = append(all.Tags, gone.Tags...), append(all.Manifests, gone.Manifests...), all.Bytes+gone.Bytes
	return all, err
}

// servePurge purges in the running process.
func (s *Storage) servePurge(w http.ResponseWriter, r *http.Request) {
	trees, err := s.Acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.Release()
	report, err := trees.purge(r.Context(), r.URL.Query().Get("name"), func(repo string, ref core.Reference) (store.Evicted, error) {
		return s.forget(r.Context(), repo, ref)
	})
	if err == nil {
		s.log.Info("purged", "repository", report.Repository, "tags", len(report.Tags), "manifests", len(report.Manifests), "bytes", report.Bytes)
		s.audit().Tell(observe.EventPurge, append(observe.By(byCommand, ""),
			"repository", report.Repository, "tags", report.Tags, "bytes", report.Bytes)...)
	}
	control.Answer(w, report, err)
}
