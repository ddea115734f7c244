package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
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
	return carryOut(ctx, r, "/purge?name="+url.QueryEscape(name), func(t *running.Trees) (control.PurgeReport, error) {
		return t.Purge(ctx, name)
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
