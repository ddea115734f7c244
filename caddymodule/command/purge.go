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
		Short: "Removes content that a mirror holds",
		Long: `
Removes what a mirror holds of a repository: one tag, one manifest with the blobs
that only it needs, or everything. The next request asks the upstream again. The
name begins with the mirror's, such as docker.io/nginx or ghcr.io/owner/app. The exit
status is 1 when there is nothing to remove.

It works only for mirrors. Delete pushed images with a client that may delete.

--json prints {"repository", "tags", "manifests", "bytes"}: what was removed.`,
		Example: `  caddy-registry registry purge docker.io/nginx
  caddy-registry registry purge ghcr.io/owner/app:v1`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("purge takes one name, such as docker.io/nginx:latest")
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

// purge purges in the process that has the storage open, or here.
func (l *location) purge(ctx context.Context, name string) (control.PurgeReport, error) {
	r, err := l.find()
	if err != nil {
		return control.PurgeReport{}, err
	}
	return carryOut(ctx, r, "/purge?name="+url.QueryEscape(name), func(t *running.Trees) (control.PurgeReport, error) {
		return t.Purge(ctx, name)
	})
}

// nothingHeld returns the reason why nothing was purged: the name does not belong to a mirror,
// or nothing is stored for it.
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
