package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/store"
)

func purgeCommand(where *location) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "purge <name>[:<tag>|@<digest>] [--json]",
		Short: "Forgets what a mirror holds",
		Long: `
Forgets what a mirror holds of a repository: one tag, one manifest with the blobs
that it alone needs, or everything. The next request asks the upstream again. The
name begins with the mirror's, as docker.io/nginx or ghcr.io/owner/app. The exit
status is 1 when there is nothing to forget.

It is for mirrors. What was pushed here is deleted by a client that may do so.

--json prints {"repository", "tags", "manifests", "bytes"}: what was forgotten.`,
		Example: `  caddy-registry registry purge docker.io/nginx
  caddy-registry registry purge ghcr.io/owner/app:v1`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("purge takes one name, as docker.io/nginx:latest")
		}
		_, _, err := control.ParseTarget(args[0])
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report, err := where.purge(commandContext(cmd), args[0])
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		held := len(report.Tags)+len(report.Manifests) > 0
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else if held {
			printPurged(cmd.OutOrStdout(), report)
		}
		if err == nil && !held {
			err = where.nothingHeld(report, args[0])
		}
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		return nil
	}
	return cmd
}

// commandContext is the command's; cobra has none unless it was given one.
func commandContext(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// printPurged prints the report for a person.
func printPurged(w io.Writer, r control.PurgeReport) {
	fmt.Fprintf(w, "%s: forgot %d tags and %d manifests, %s\n", r.Repository, len(r.Tags), len(r.Manifests), humanize.IBytes(uint64(r.Bytes)))
}

// purge has the process that has the storage open forget, or does it here.
func (l *location) purge(ctx context.Context, name string) (control.PurgeReport, error) {
	r, err := l.find()
	if err != nil {
		return control.PurgeReport{}, err
	}
	return carryOut(ctx, r, "/purge?name="+url.QueryEscape(name), func(t *trees) (control.PurgeReport, error) {
		return t.purge(ctx, name, func(repo string, ref core.Reference) (store.Evicted, error) {
			return mirror.Purge(ctx, t.mirrors, t.state, repo, ref)
		})
	})
}

// nothingHeld says why nothing was forgotten: of a name that no mirror has, or of one
// of which nothing is here.
func (l *location) nothingHeld(r control.PurgeReport, name string) error {
	app, err := l.app()
	if err != nil {
		return err
	}
	host, _, _ := strings.Cut(r.Repository, "/")
	if mirrors := slices.Sorted(maps.Keys(app.Mirrors)); l.storage == "" && app.Mirrors[host] == nil {
		if len(mirrors) == 0 {
			return fmt.Errorf("%s does not belong to a mirror, and the configuration has no mirror", name)
		}
		return fmt.Errorf("%s does not belong to a mirror; the names of mirrors begin with %s", name, strings.Join(mirrors, "/, ")+"/")
	}
	return fmt.Errorf("nothing is cached for %s; a remembered \"not found\" was cleared", name)
}

// purge checks that the name is a mirror's, and forgets it.
func (t *trees) purge(ctx context.Context, name string, forget func(repo string, ref core.Reference) (store.Evicted, error)) (control.PurgeReport, error) {
	repo, ref, err := control.ParseTarget(name)
	if err != nil {
		return control.PurgeReport{}, err
	}
	for held, err := range t.private.Repositories(ctx, "") {
		if err != nil {
			return control.PurgeReport{}, err
		}
		if held == repo {
			return control.PurgeReport{}, fmt.Errorf("%s was pushed here and is nobody's copy; delete it with a client that may, such as: crane delete <this registry>/%s", repo, name)
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

// forget has every open mirror forget what it knows, and then the disk. One that is of
// another name says so.
func (s *shared) forget(ctx context.Context, repo string, ref core.Reference) (all store.Evicted, err error) {
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
	// Of a mirror that is not configured any more something may be held.
	gone, err := mirror.Purge(ctx, trees.mirrors, trees.state, repo, ref)
	all.Tags, all.Manifests, all.Bytes = append(all.Tags, gone.Tags...), append(all.Manifests, gone.Manifests...), all.Bytes+gone.Bytes
	return all, err
}

// servePurge forgets in the running process.
func (s *shared) servePurge(w http.ResponseWriter, r *http.Request) {
	trees, err := s.acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.release()
	report, err := trees.purge(r.Context(), r.URL.Query().Get("name"), func(repo string, ref core.Reference) (store.Evicted, error) {
		return s.forget(r.Context(), repo, ref)
	})
	if err == nil {
		s.log.Info("purged", "repository", report.Repository, "tags", len(report.Tags), "manifests", len(report.Manifests), "bytes", report.Bytes)
	}
	control.Answer(w, report, err)
}
